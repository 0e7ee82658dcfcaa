import { defaultThreads } from "../../attention/threads.ts";
import type { CliIo } from "../../server/cli/io.ts";
import { flagOf } from "../../server/cli/options.ts";
import { progressLine } from "../../server/cli/progress.ts";
import { loadOptionsOf } from "../options.ts";
import { finish } from "../record/finish.ts";
import { readRecord, recordOf } from "../record/record.ts";
import { ServerProcess } from "../server-process.ts";
import type { ServeOptions } from "./command.ts";
import { measure } from "./measure.ts";
import { measurementsOf } from "./measurements.ts";
import { formatServe, warningsOf } from "./report.ts";
import { checkSettings, commandOf, settingsOf } from "./settings.ts";
import { findTarget } from "./target.ts";

/** Exit code 1 if an answer failed, or a figure is worse than the baseline's. */
export async function runServe(options: ServeOptions, io: CliIo): Promise<number> {
  const settings = settingsOf(options);
  if (options.baseline !== undefined) checkSettings(settings, readRecord(options.baseline), options.baseline);
  const started = performance.now();
  const server = options.url === undefined ? await ServerProcess.start(serverFlags(options)) : null;
  const progress = progressLine(io);
  try {
    const target = await findTarget({ ...options, ...connectionOf(options, server) });
    for (const note of target.notes) io.err(`${note}\n`);
    const loads = await measure(options, target, io.stop, progress.update);
    progress.end();
    const { measurements, skipped } = measurementsOf(loads);
    io.out(formatServe(loads, measurements));
    const warnings = loads.flatMap((load) => warningsOf(load, options.sharedPrefixTokens));
    for (const warning of warnings) io.err(`warning: ${warning}\n`);
    const record = recordOf({
      ...{ bench: "serve", command: commandOf(options), model: target.body.model },
      settings: {
        ...settings,
        seed: options.seed,
        server: new URL(target.url).origin,
        notes: [...target.notes, ...warnings],
      },
      ...{ threads: server === null ? 0 : (options.threads ?? defaultThreads()), started, measurements, skipped },
    });
    const code = await finish(record, options, io);
    return loads.some(({ rounds }) => rounds.some(({ failures }) => failures.length > 0)) ? 1 : code;
  } catch (error) {
    if (!io.stop.aborted) throw error;
    return 130;
  } finally {
    progress.end();
    await server?.stop();
    for (const line of server?.complaints ?? []) io.err(`the server's log: ${line.slice(0, 500)}\n`);
  }
}

function serverFlags(options: ServeOptions): string[] {
  const { model, threads, kvDtype, scanDtype, r, k, local } = options;
  const given = Object.entries({ model, ...loadOptionsOf(options), threads, kvDtype, scanDtype, r, k, local });
  return given.flatMap(([name, value]) => (value === undefined ? [] : [flagOf(name), String(value)]));
}

function connectionOf(options: ServeOptions, server: ServerProcess | null) {
  const key = server === null ? process.env.OPENAI_API_KEY : undefined;
  const given = Object.fromEntries(options.header.map(([name, value]) => [name.toLowerCase(), value]));
  return {
    url: server?.url ?? options.url!,
    // What is started here serves the one model, by whatever name.
    model: server === null ? options.model : undefined,
    headers: { ...(key ? { authorization: `Bearer ${key}` } : {}), ...given },
    timeoutMs: 1000 * options.timeout,
  };
}
