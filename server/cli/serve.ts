import { once } from "node:events";
import pino from "pino";
import { parseServerOptions } from "../config.ts";
import { loadServing } from "../load-serving.ts";
import { startServer } from "../start.ts";
import { loadFrugally } from "./frugal-load.ts";
import type { CliIo } from "./io.ts";

/** Nothing logs headers or options; should something come to do so, no key gets out. */
const redact = ["authorization", "apiKey", "headers", "*.authorization", "*.apiKey", "*.headers.authorization"];

/** Serves until it is told to stop. The address goes to stdout when the server is ready, the log to stderr as JSON. */
export async function serve(given: Readonly<Record<string, unknown>>, io: CliIo): Promise<number> {
  const options = parseServerOptions(given);
  const log = pino({ level: options.logLevel, redact }, { write: io.err });
  const server = await startServer(options, { load: (...given) => loadFrugally(() => loadServing(...given)), log });
  const stopped = io.stop.aborted ? Promise.resolve() : once(io.stop, "abort").then(() => {});
  try {
    const serving = await Promise.race([server.ready, stopped]);
    if (serving) io.out(`sparq: serving ${serving.name} at ${server.url}\n`);
    await stopped;
    await server.close();
    if (!serving) io.abandon(0);
    return 0;
  } finally {
    await server.close();
  }
}
