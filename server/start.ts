import { once } from "node:events";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { createAdaptorServer } from "@hono/node-server";
import type { Logger } from "pino";
import { ApiKeys, readKeyFile } from "./api-keys.ts";
import { createApp } from "./app.ts";
import type { ServerOptions } from "./config.ts";
import type { EngineObserver } from "./engine/observer.ts";
import { ServerMetrics } from "./metrics/server-metrics.ts";
import { OpenRequests } from "./open-requests.ts";
import { closeServing, type ServerState, type Serving } from "./serving.ts";
import { within } from "./within.ts";

/** Clients keep idle connections for a minute or so; closing them first would race with their next request. */
const KEEP_ALIVE_MS = 75_000;
/** Time for the last error events to go out once running requests have been ended. */
const LAST_WORDS_MS = 500;
const DRAIN_POLL_MS = 50;

export interface StartedServer {
  /** With the port that was really taken. */
  readonly url: string;
  /** The loaded model; rejects with the reason if it cannot be loaded. */
  readonly ready: Promise<Serving>;
  /**
   * Takes no more requests, lets running ones finish for `graceSeconds`, ends the rest, and frees the model. A model that
   * is still loading is freed when it is there; that is not waited for.
   */
  close(): Promise<void>;
}

export interface StartDependencies {
  readonly load: (options: ServerOptions, log: Logger, observers: readonly EngineObserver[]) => Promise<Serving>;
  readonly log: Logger;
}

/**
 * Listens at once and loads the model meanwhile: until then /health and all else answer 503. Rejects with a message that
 * names the address if it cannot listen there.
 */
export async function startServer(options: ServerOptions, { load, log }: StartDependencies): Promise<StartedServer> {
  let state: ServerState = { phase: "loading" };
  const apiKeys = apiKeysOf(options);
  const metrics = new ServerMetrics(() => state.phase);
  const app = createApp({
    state: () => state,
    log,
    pingMs: options.pingSeconds * 1000,
    bodyLimitBytes: options.maxBodyMb * 2 ** 20,
    apiKeys,
    cacheSaltPerKey: options.cacheSaltPerKey,
    corsOrigins: options.corsOrigin,
    metrics: options.metrics === "off" ? undefined : metrics,
    metricsNeedKey: options.metrics === "key",
    logPrompts: options.logPrompts,
  });
  const server = createAdaptorServer({ fetch: app.fetch }) as Server;
  const requests = new OpenRequests(server);
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  await listen(server, options);
  const url = urlOf(server.address() as AddressInfo);
  log.info({ url, model: options.model, apiKeys: apiKeys?.size ?? 0 }, "listening; loading the model");
  if (apiKeys === undefined && !isLoopback(options.host)) {
    log.warn({ host: options.host }, "whoever reaches this address can use the server: there is no --api-key");
  }

  const loading = load(options, log, [metrics.observer]);
  const ready = loading.then((serving) => {
    metrics.attach(serving);
    if (state.phase === "loading") state = { phase: "ready", serving };
    return serving;
  });
  ready.catch(() => {}); // For a caller that closes before it looks.

  let closing: Promise<void> | undefined;
  const shutDown = async () => {
    const serving = state.phase === "ready" ? state.serving : null;
    state = { phase: "draining" };
    log.info({ graceSeconds: options.graceSeconds }, "draining");
    if (serving === null) loading.then((late) => closeServing(late)).catch(() => {});
    else {
      // Still listening: probes and balancers get an answer that says why, until the last request has its own.
      await within(requests.allDone(), options.graceSeconds * 1000);
      await closeServing(serving);
      await within(requests.allDone(), LAST_WORDS_MS);
    }
    const stopped = drain(server);
    if (serving !== null) await within(stopped, LAST_WORDS_MS);
    server.closeAllConnections();
    await stopped;
    log.info("stopped");
  };
  return {
    url,
    ready,
    close: () => {
      closing ??= shutDown();
      return closing;
    },
  };
}

/** The keys of the flags, the variables and the file together; undefined if none of them is set. Throws Error. */
function apiKeysOf({ apiKey, apiKeyFile }: ServerOptions): ApiKeys | undefined {
  const keys = [...apiKey, ...(apiKeyFile === undefined ? [] : readKeyFile(apiKeyFile))];
  return keys.length === 0 ? undefined : new ApiKeys(keys);
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || host.startsWith("127.");
}

async function listen(server: Server, { host, port }: ServerOptions): Promise<void> {
  server.listen(port, host);
  try {
    await once(server, "listening");
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const reasons: Record<string, string> = {
      EADDRINUSE: "the port is in use",
      EACCES: "no permission to listen on this port",
      EADDRNOTAVAIL: "this machine has no such address",
      ENOTFOUND: "the host is not known",
    };
    throw new Error(`cannot listen on ${host}:${port}: ${reasons[code ?? ""] ?? message}`, { cause: error });
  }
}

function urlOf({ address, port, family }: AddressInfo): string {
  return `http://${family === "IPv6" ? `[${address}]` : address}:${port}`;
}

/** Resolves when the last connection has closed; connections are closed as soon as they have nothing to do. */
async function drain(server: Server): Promise<void> {
  const closed = once(server, "close");
  server.close();
  const sweep = setInterval(() => server.closeIdleConnections(), DRAIN_POLL_MS);
  await closed;
  clearInterval(sweep);
}
