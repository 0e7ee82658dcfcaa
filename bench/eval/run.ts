import { setMaxListeners } from "node:events";
import { existsSync, writeFileSync } from "node:fs";
import type { CliIo } from "../../server/cli/io.ts";
import { progressLine } from "../../server/cli/progress.ts";
import { OptionError } from "../../server/config.ts";
import { loadOptionsOf } from "../options.ts";
import type { EvalOptions } from "./command.ts";
import type { Backend } from "./engines/backend.ts";
import { LocalBackend } from "./engines/local.ts";
import { compareWithBaseline } from "./gate.ts";
import { itemsOf, measure } from "./measure.ts";
import { commandOf, type EvalPlan, planOf, planOfBaseline } from "./plan.ts";
import { readReport } from "./report-file.ts";
import { formatJson, formatTable } from "./table.ts";
import type { EvalReport, EvalResult, EvalSet } from "./types.ts";

/** Measures what the options say, or what a baseline holds, and whether it still does. Returns the exit code. */
export async function runEval(options: EvalOptions, io: CliIo): Promise<number> {
  // Each request listens while it runs.
  setMaxListeners(0, io.stop);
  const baseline = options.gate === undefined ? null : readReport(options.gate);
  const plan = baseline === null ? planOf(options) : planOfBaseline(baseline, options, options.gate!);
  const known = earlierReport(options);
  const backend = await openBackend(plan, options, io);
  try {
    const report = await evaluate({ plan, backend, known, json: options.json, io });
    io.out(formatTable(report));
    if (options.report !== undefined) await writePictures(options.report, [report]);
    if (baseline === null) return 0;
    const faults = compareWithBaseline(report, baseline);
    for (const fault of faults) io.err(`${fault}\n`);
    io.out(`\n${faults.length === 0 ? "nothing is" : `${faults.length} values are`} worse than in ${options.gate}\n`);
    return faults.length === 0 ? 0 : 1;
  } catch (error) {
    if (!io.stop.aborted) throw error;
    return 130;
  } finally {
    await backend.close();
  }
}

/** Writes a page of results that were measured before. */
export async function writeReport(files: readonly string[], { report }: EvalOptions): Promise<number> {
  if (report === undefined) throw new OptionError("report", undefined, "must name the page to write of these files");
  await writePictures(report, files.map(readReport));
  return 0;
}

async function writePictures(path: string, reports: readonly EvalReport[]): Promise<void> {
  // Pictures take a library that nothing else needs.
  const [{ renderReport }, { writePage }] = await Promise.all([
    import("./report/report.ts"),
    import("../report/pictures.ts"),
  ]);
  writePage(path, await renderReport(reports));
}

/** What --json holds already, with --resume. */
function earlierReport({ resume, json }: EvalOptions): EvalReport | null {
  if (!resume) return null;
  if (json === undefined) throw new OptionError("resume", true, "goes with --json, the file to go on with");
  return existsSync(json) ? readReport(json) : null;
}

async function openBackend({ model, settings }: EvalPlan, options: EvalOptions, io: CliIo): Promise<Backend> {
  const { kvCacheMb, threads } = options;
  const { batch, prompts } = settings;
  if (options.url !== undefined) {
    const { HttpBackend } = await import("./engines/http.ts");
    const key = process.env.OPENAI_API_KEY;
    return HttpBackend.open({ url: options.url, model, key, batch, prompts, signal: io.stop });
  }
  const own = threads === undefined ? {} : { threads };
  return LocalBackend.open(model!, { ...settings, cacheBytes: kvCacheMb * 2 ** 20, signal: io.stop, ...own });
}

interface Evaluation {
  readonly plan: EvalPlan;
  readonly backend: Backend;
  readonly known: EvalReport | null;
  readonly json: string | undefined;
  readonly io: CliIo;
}

/** Sets one after the other; the file is written after each, since they take minutes. */
async function evaluate({ plan, backend, known, json, io }: Evaluation): Promise<EvalReport> {
  const started = performance.now();
  const sets: EvalSet[] = [];
  const results: EvalResult[] = [];
  const report = (): EvalReport => ({
    version: 1,
    command: commandOf(plan),
    model: backend.model,
    machine: backend.machine,
    settings: plan.settings,
    seconds: (known?.seconds ?? 0) + Math.round((performance.now() - started) / 100) / 10,
    sets,
    results,
  });
  const progress = progressLine(io);
  try {
    for (const job of plan.jobs) {
      const items = itemsOf(job, plan, backend);
      const what = job.tokens === null ? job.task.name : `${job.task.name} at ${job.tokens} tokens`;
      let done = 0;
      const update = () => progress.update(done, items.items.length, what);
      update();
      const onItem = () => {
        done += 1;
        update();
      };
      const found = knownResults(known, items.set, plan);
      sets.push(items.set);
      results.push(...(found ?? (await measure(items, plan.variants, backend, onItem))));
      if (json !== undefined) writeFileSync(json, formatJson(report()));
    }
  } finally {
    progress.end();
  }
  return report();
}

/** A set's results, if an earlier report has them for the same items and settings in every variant. */
function knownResults(known: EvalReport | null, set: EvalSet, { variants, settings }: EvalPlan): EvalResult[] | null {
  const same = known?.sets.some(({ sha256, task }) => sha256 === set.sha256 && task === set.task);
  if (known === null || !same || known.settings.question !== settings.question) return null;
  if (JSON.stringify(loadOptionsOf(known.settings)) !== JSON.stringify(loadOptionsOf(settings))) return null;
  const results = known.results.filter(({ task, tokens }) => task === set.task && tokens === set.tokens);
  const found = variants.map(({ name }) => results.filter(({ variant }) => variant === name));
  return found.every((own) => own.length > 0)
    ? results.filter(({ variant }) => variants.some(({ name }) => name === variant))
    : null;
}
