import { OptionError } from "../../server/config.ts";
import { loadOptionsOf, toFlags } from "../options.ts";
import type { EvalOptions } from "./command.ts";
import { DataError } from "./data/fields.ts";
import { tasks } from "./tasks/index.ts";
import type { EvalReport, EvalSettings, Task } from "./types.ts";
import { VariantError } from "./variant-fields.ts";
import { parseVariants, type Variant } from "./variants.ts";

const DEFAULT_MODEL = "tiny-llama";

/** A task at one length; null: its own. */
export interface Job {
  readonly task: Task;
  readonly tokens: number | null;
}

/** What is to be measured. */
export interface EvalPlan {
  /** Undefined: the one that the server names. */
  readonly model: string | undefined;
  readonly url: string | undefined;
  readonly jobs: readonly Job[];
  readonly variants: readonly Variant[];
  readonly settings: EvalSettings;
  readonly data: ReadonlyMap<string, string>;
}

/** Throws OptionError for a task or a variant that there is not. */
export function planOf(options: EvalOptions): EvalPlan {
  const { data, n, seed, batch, question, prompts, shots } = options;
  const jobs = tasksOf(options).flatMap((task) => (options.tokens ?? [null]).map((tokens) => ({ task, tokens })));
  // A server reads all of a prompt densely.
  const settings = {
    n,
    seed,
    batch,
    question: options.url === undefined ? question : "dense",
    prompts,
    ...(options.url === undefined ? loadOptionsOf(options) : {}),
    ...(shots === undefined ? {} : { shots }),
  } as const;
  const model = options.model ?? (options.url === undefined ? DEFAULT_MODEL : undefined);
  return { model, url: options.url, jobs, variants: variantsOf(options.variants), settings, data };
}

/** What was measured for a baseline, on the same or another model. Throws DataError where that cannot be done again. */
export function planOfBaseline(baseline: EvalReport, { model, url, data }: EvalOptions, file: string): EvalPlan {
  const jobs = baseline.sets.map(({ task: name, tokens, data: source }) => {
    const task = tasks.get(name);
    if (task === undefined) throw new DataError(`${file} has task ${name}, which there is not`);
    if (source !== "sample" && !data.has(name)) {
      throw new DataError(`${file} has ${name} on ${source}: name it with --data ${name}=FILE`);
    }
    return { task, tokens };
  });
  const names = [...new Set(baseline.results.map(({ variant }) => variant))];
  return {
    model: model ?? baseline.model,
    url,
    jobs,
    variants: names.flatMap(parseVariants),
    settings: baseline.settings,
    data,
  };
}

/** The command that a plan is, for the record. */
export function commandOf({ model, url, jobs, variants, settings, data }: EvalPlan): string {
  const names = new Set(jobs.map(({ task }) => task.name));
  const lengths = new Set(jobs.flatMap(({ tokens }) => tokens ?? []));
  const flags = toFlags({
    model,
    url,
    tasks: [...names].join(","),
    variants: variants.map(({ name }) => name).join(","),
    tokens: lengths.size > 0 ? [...lengths].join(",") : undefined,
    ...settings,
  });
  return ["sparq eval", flags, ...[...data].map(([task, file]) => `--data ${task}=${file}`)].join(" ");
}

function tasksOf({ tasks: names, data }: EvalOptions): Task[] {
  for (const [option, given] of [["tasks", names] as const, ["data", [...data.keys()]] as const]) {
    const unknown = given.find((name) => !tasks.has(name));
    if (unknown === undefined) continue;
    throw new OptionError(option, unknown, `must name tasks of ${[...tasks.keys()].join(", ")}`);
  }
  return [...new Set(names)].map((name) => tasks.get(name)!);
}

function variantsOf(text: string): Variant[] {
  try {
    return parseVariants(text);
  } catch (error) {
    if (error instanceof VariantError) throw new OptionError("variants", text, `is wrong: ${error.message}`);
    throw error;
  }
}
