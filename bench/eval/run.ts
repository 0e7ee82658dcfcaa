import { setMaxListeners } from "node:events";
import { writeFileSync } from "node:fs";
import { basename } from "node:path";
import type { CliIo } from "../../server/cli/io.ts";
import { progressLine } from "../../server/cli/progress.ts";
import { OptionError } from "../../server/config.ts";
import { toFlags } from "../options.ts";
import { mean } from "../statistics.ts";
import type { EvalOptions } from "./command.ts";
import type { Backend } from "./engines/backend.ts";
import { LocalBackend } from "./engines/local.ts";
import { randomOf, resultOf, setOf } from "./results.ts";
import { formatJson, formatTable } from "./table.ts";
import { tasks } from "./tasks/index.ts";
import type { EvalReport, EvalResult, EvalSet, EvalSettings, Task } from "./types.ts";
import { parseVariants, type Variant, VariantError } from "./variants.ts";

/** Runs every task in every variant, prints a table, and keeps --json up to date on the way. */
export async function runEval(options: EvalOptions, io: CliIo): Promise<number> {
  // Each request listens while it runs.
  setMaxListeners(0, io.stop);
  const wanted = tasksOf(options);
  const variants = variantsOf(options);
  const backend = await openBackend(options, io);
  try {
    const report = await evaluate({ options, tasks: wanted, variants, backend, io });
    io.out(formatTable(report));
    return 0;
  } catch (error) {
    if (!io.stop.aborted) throw error;
    return 130;
  } finally {
    await backend.close();
  }
}

function tasksOf({ tasks: names, data }: EvalOptions): Task[] {
  for (const [option, given] of [["tasks", names] as const, ["data", [...data.keys()]] as const]) {
    const unknown = given.find((name) => !tasks.has(name));
    if (unknown !== undefined)
      throw new OptionError(option, unknown, `must name tasks of ${[...tasks.keys()].join(", ")}`);
  }
  return [...new Set(names)].map((name) => tasks.get(name)!);
}

function variantsOf({ variants }: EvalOptions): Variant[] {
  try {
    return parseVariants(variants);
  } catch (error) {
    if (error instanceof VariantError) throw new OptionError("variants", variants, `is wrong: ${error.message}`);
    throw error;
  }
}

async function openBackend(options: EvalOptions, io: CliIo): Promise<Backend> {
  const { batch, kvCacheMb, question, prompts, threads } = options;
  const own = threads === undefined ? {} : { threads };
  return LocalBackend.open(options.model, {
    batch,
    cacheBytes: kvCacheMb * 2 ** 20,
    question,
    prompts,
    signal: io.stop,
    ...own,
  });
}

interface Evaluation {
  readonly options: EvalOptions;
  readonly tasks: readonly Task[];
  readonly variants: readonly Variant[];
  readonly backend: Backend;
  readonly io: CliIo;
}

async function evaluate({ options, tasks: wanted, variants, backend, io }: Evaluation): Promise<EvalReport> {
  const started = performance.now();
  const sets: EvalSet[] = [];
  const results: EvalResult[] = [];
  const report = (): EvalReport => ({
    version: 1,
    command: commandOf(options),
    model: backend.model,
    machine: backend.machine,
    settings: settingsOf(options),
    seconds: Math.round((performance.now() - started) / 100) / 10,
    sets,
    results,
  });
  const progress = progressLine(io);
  try {
    for (const task of wanted) {
      for (const tokens of options.tokens ?? [null]) {
        const measured = await measureSet({ options, task, tokens, variants, backend }, progress.update);
        sets.push(measured.set);
        results.push(...measured.results);
        if (options.json) writeFileSync(options.json, formatJson(report()));
      }
    }
  } finally {
    progress.end();
  }
  return report();
}

interface SetOptions {
  readonly options: EvalOptions;
  readonly task: Task;
  readonly tokens: number | null;
  readonly variants: readonly Variant[];
  readonly backend: Backend;
}

async function measureSet(
  { options, task, tokens, variants, backend }: SetOptions,
  onProgress: (done: number, total: number, what: string) => void,
): Promise<{ readonly set: EvalSet; readonly results: readonly EvalResult[] }> {
  const what = tokens === null ? task.name : `${task.name} at ${tokens} tokens`;
  const data = options.data.get(task.name);
  const items = task.items({
    data,
    n: options.n,
    tokens: tokens ?? undefined,
    count: backend.count,
    random: randomOf(options.seed, task.name),
  });
  const counted = items.flatMap((item) => backend.promptTokens(item) ?? []);
  const promptTokens = counted.length === items.length ? mean(counted) : null;
  let done = 0;
  onProgress(0, items.length, what);
  const measured = await backend.measure(items, variants, () => onProgress(++done, items.length, what));
  return {
    set: setOf(task.name, tokens, data === undefined ? "sample" : basename(data), items, promptTokens),
    results: measured.map(({ values, traffic }, v) => resultOf(task, variants[v]!.name, tokens, values, traffic)),
  };
}

function settingsOf({ n, seed, batch, question, prompts }: EvalOptions): EvalSettings {
  return { n, seed, batch, question, prompts };
}

/** The command again, for the record. */
function commandOf(options: EvalOptions): string {
  const { data, tasks: names, tokens, json: _, ...rest } = options;
  const files = [...data].map(([task, file]) => `--data ${task}=${file}`);
  const flags = toFlags({ ...rest, tasks: names.join(","), tokens: tokens?.join(",") });
  return ["sparq eval", flags, ...files].join(" ");
}
