import { setTimeout as sleep } from "node:timers/promises";
import { ModelError, messageOf } from "../errors.ts";
import { hubToken } from "./token.ts";

/** A hub and how to talk to it. */
export interface Hub {
  /** Without a slash at its end. */
  readonly endpoint: string;
  readonly token: string | undefined;
  /** What names the token, for messages: a variable or a file. */
  readonly tokenSource?: string | undefined;
  /** Ends everything that is under way. */
  readonly signal?: AbortSignal | undefined;
  /** Waits between two tries; tests do not. */
  readonly wait?: (milliseconds: number) => Promise<unknown>;
  /** Milliseconds without a byte after which a connection counts as dead. */
  readonly stallAfter?: number;
}

/** Tries of a request that gets nothing; those that get bytes do not count. */
const TRIES = 5;
const FIRST_WAIT = 500;
const LONGEST_WAIT = 30_000;
const REDIRECTS = 10;

/** What goes wrong on the way and may go well the next time. */
export class PassingFault extends Error {
  override readonly name = "PassingFault";
  /** Milliseconds that the server asked to wait. */
  readonly retryAfter: number | undefined;

  constructor(message: string, retryAfter?: number) {
    super(message);
    this.retryAfter = retryAfter;
  }
}

/** The hub that HF_ENDPOINT names, by default Hugging Face's own, with the token of token.ts if there is one. */
export function hubFromEnvironment(): Hub {
  const endpoint = process.env.HF_ENDPOINT || "https://huggingface.co";
  if (!URL.canParse(endpoint) || !/^https?:$/.test(new URL(endpoint).protocol)) {
    throw new ModelError("download_failed", `HF_ENDPOINT is "${endpoint}": it must be an http or https address`);
  }
  return { endpoint: endpoint.replace(/\/+$/, ""), ...hubToken(endpoint) };
}

/**
 * Runs `attempt` until it goes well, with growing pauses after a PassingFault. `advanced` says whether the last try got
 * somewhere, so that the count begins anew.
 * @throws ModelError "hub_unreachable" after the last try; what else `attempt` throws, at once
 */
export async function withRetries<T>(hub: Hub, attempt: () => Promise<T>, advanced = () => false): Promise<T> {
  for (let failed = 0; ; ) {
    try {
      hub.signal?.throwIfAborted();
      return await attempt();
    } catch (error) {
      if (!(error instanceof PassingFault)) throw error;
      failed = advanced() ? 1 : failed + 1;
      if (failed === TRIES) throw new ModelError("hub_unreachable", `${error.message} (tried ${TRIES} times)`);
      const pause = error.retryAfter ?? FIRST_WAIT * 2 ** (failed - 1);
      await (hub.wait ?? ((milliseconds) => pausing(milliseconds, hub.signal)))(Math.min(LONGEST_WAIT, pause));
    }
  }
}

async function pausing(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  await sleep(milliseconds, undefined, signal ? { signal } : {}).catch(() => signal?.throwIfAborted());
}

export interface HubResponse {
  readonly response: Response;
  /** Ends with the response's body; aborts it when nothing comes. */
  readonly body: AsyncIterable<Uint8Array>;
}

/**
 * GETs an address of the hub and follows redirects. The token goes to the hub itself alone, never to another origin that
 * a redirect leads to, and no redirect leads from https to http.
 * @returns a success, or a 416: there is nothing in that range
 * @throws PassingFault for what may go well later; ModelError for answers that say no, in terms of `what`
 */
export async function get(hub: Hub, address: string, what: string, range?: string): Promise<HubResponse> {
  const stall = new StallTimer(hub.stallAfter ?? 60_000, hub.signal);
  let url = new URL(address);
  for (let redirects = 0; redirects <= REDIRECTS; redirects++) {
    const headers = new Headers({ "user-agent": "sparq", "accept-encoding": "identity" });
    if (range !== undefined) headers.set("range", range);
    if (hub.token !== undefined && url.origin === new URL(hub.endpoint).origin) {
      headers.set("authorization", `Bearer ${hub.token}`);
    }
    const response = await stall.guard(url.host, () =>
      fetch(url.href, { headers, redirect: "manual", signal: stall.signal }),
    );
    const location = response.headers.get("location");
    if (response.status < 300 || response.status >= 400 || location === null) {
      if (response.ok || response.status === 416) return { response, body: stall.chunks(url.host, response) };
      stall.end();
      throw await faultOf(response, hub, url, what);
    }
    await response.body?.cancel();
    const next = URL.canParse(location, url.href) ? new URL(location, url) : null;
    if (
      next === null ||
      !/^https?:$/.test(next.protocol) ||
      (url.protocol === "https:" && next.protocol !== "https:")
    ) {
      stall.end();
      throw new ModelError(
        "download_failed",
        `${what}: ${url.host} redirects to ${location}, where nothing is taken from`,
      );
    }
    url = next;
  }
  stall.end();
  throw new ModelError("download_failed", `${what}: more than ${REDIRECTS} redirects, the last to ${url.host}`);
}

/** Ends a request when nothing comes for a while, or when all is to end. */
class StallTimer {
  readonly signal: AbortSignal;
  readonly #stalled = new AbortController();
  readonly #outer: AbortSignal | undefined;
  readonly #timer: NodeJS.Timeout;

  constructor(after: number, outer: AbortSignal | undefined) {
    this.#outer = outer;
    this.#timer = setTimeout(() => this.#stalled.abort(new Error(`nothing came for ${after / 1000} s`)), after);
    this.#timer.unref();
    this.signal = outer ? AbortSignal.any([this.#stalled.signal, outer]) : this.#stalled.signal;
  }

  end(): void {
    clearTimeout(this.#timer);
  }

  /** Makes every fault of the network a PassingFault; an end from outside stays what it is. */
  async guard<T>(host: string, run: () => Promise<T>): Promise<T> {
    try {
      const result = await run();
      this.#timer.refresh();
      return result;
    } catch (error) {
      this.end();
      this.#outer?.throwIfAborted();
      throw new PassingFault(
        `${host}: ${this.#stalled.signal.aborted ? this.#stalled.signal.reason.message : reasonOf(error)}`,
      );
    }
  }

  async *chunks(host: string, response: Response): AsyncGenerator<Uint8Array> {
    const reader = response.body?.getReader();
    try {
      for (;;) {
        const next = await this.guard(host, async () => reader?.read());
        if (next === undefined || next.done) return;
        yield next.value;
      }
    } finally {
      this.end();
      // A connection that is broken already has nothing to cancel.
      await reader?.cancel().catch(() => {});
    }
  }
}

/** fetch says "fetch failed" and gives the cause apart. */
function reasonOf(error: unknown): string {
  const cause = (error as { cause?: unknown }).cause;
  if (cause === undefined) return messageOf(error);
  const code = (cause as { code?: unknown }).code;
  return messageOf(cause) || (typeof code === "string" ? code : messageOf(error));
}

/** An answer that is no success, as the error to throw. */
async function faultOf(response: Response, hub: Hub, url: URL, what: string): Promise<Error> {
  const { status } = response;
  const said = (response.headers.get("x-error-message") ?? "").replace(/[^\x20-\x7e]/g, "").slice(0, 300);
  await response.body?.cancel();
  const words = `${url.host} says ${status}${said ? ` (${said})` : ""}`;
  if (status === 408 || status === 429 || status >= 500) {
    return new PassingFault(`${what}: ${words}`, secondsOf(response.headers.get("retry-after")));
  }
  const token =
    hub.token === undefined
      ? "set HF_TOKEN to a token of an account that may"
      : `the account of ${hub.tokenSource ?? "HF_TOKEN"} may not`;
  if (status === 401) {
    return new ModelError(
      "access_denied",
      `${what}: ${words}: it does not exist, is private, or wants an account; ${token} read it`,
    );
  }
  if (status === 403) {
    return new ModelError(
      "access_denied",
      `${what}: ${words}: access is granted on its page at ${hub.endpoint}, where its terms may have to be accepted; ${token} read it yet`,
    );
  }
  return new ModelError(
    "download_failed",
    `${what}: ${words}${status === 404 ? ": there is no such model, revision or file" : ""}`,
  );
}

function secondsOf(header: string | null): number | undefined {
  return header !== null && /^\d{1,4}$/.test(header) ? Number(header) * 1000 : undefined;
}
