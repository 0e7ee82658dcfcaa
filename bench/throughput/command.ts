import { type Command, InvalidArgumentError, Option } from "commander";
import type { CliIo } from "../../server/cli/io.ts";
import { flagOf, variableOf } from "../../server/cli/options.ts";
import { addLoadOptions, count, counts, type LoadOptions, MAX_CONTEXT } from "../options.ts";
import { addRecordOptions, type RecordOptions } from "../record/options.ts";

export const workloadNames = ["fixed", "random", "conversations", "documents"] as const;
export type WorkloadName = (typeof workloadNames)[number];

/** What a workload is made of; undefined: as the workload has it. */
export interface WorkloadOptions {
  readonly workload: WorkloadName;
  readonly requests: number;
  readonly inputTokens?: readonly number[];
  readonly outputTokens?: number;
  readonly rangeRatio?: number;
  readonly questions?: number;
  readonly data?: string;
  readonly prompts?: "plain" | "chat";
  readonly seed: number;
}

export interface ThroughputOptions extends WorkloadOptions, RecordOptions, LoadOptions {
  readonly model: string;
  readonly threads?: number;
  readonly batch: readonly number[];
  readonly variants: string;
  readonly rounds: number;
  readonly kvCacheMb?: number;
  readonly prefillSlowdown: number;
}

const MODEL = "tiny-llama";
/** As documents.ts has them. */
const MOST_QUESTIONS = 8;

/** What not every workload takes. */
const takers: Readonly<Partial<Record<keyof WorkloadOptions, readonly WorkloadName[]>>> = {
  inputTokens: ["fixed", "random", "documents"],
  rangeRatio: ["random"],
  questions: ["documents"],
  data: ["conversations", "documents"],
  prompts: ["conversations"],
};

/** `sparq bench throughput` */
export function addThroughput(bench: Command, io: CliIo, exit: (code: number) => void): void {
  const command = addLoadOptions(bench.command("throughput"))
    .description("requests and tokens a second of the engine by itself: all requests are there from the beginning")
    .addOption(
      new Option("--model <name|path>", `a built-in or pulled model, or a file (default: ${MODEL})`).env(
        variableOf("model"),
      ),
    )
    .addOption(
      new Option("--threads <n>", "threads to compute with (default: what this container may use)")
        .argParser(count(1, 1024))
        .env(variableOf("threads")),
    )
    .addOption(
      new Option("--workload <name>", "what is asked; docs/benchmarks.md says how each is made")
        .choices(workloadNames)
        .default("fixed"),
    )
    .option("--requests <n>", "requests", count(1, 100_000), 32)
    .option(
      "--input-tokens <list>",
      "tokens of each prompt, a workload of its own for each of the list (default: 512; not with conversations)",
      counts(1, MAX_CONTEXT),
    )
    .option(
      "--output-tokens <n>",
      "tokens of each answer (default: 64; with conversations as long as the file's)",
      count(1, MAX_CONTEXT),
    )
    .option("--range-ratio <x>", "random: lengths are up to this share shorter or longer (default: 0.5)", ratio)
    .option(
      "--questions <n>",
      "documents: questions about each document, whose tokens they share (default: 4)",
      count(1, MOST_QUESTIONS),
    )
    .option("--data <file>", "conversations: ShareGPT's JSON, or JSON lines; documents: a text (default: samples)")
    .addOption(
      new Option(
        "--prompts <style>",
        "conversations: prompts as they are, or in the model's chat template (default: plain)",
      ).choices(["plain", "chat"]),
    )
    .option("--seed <n>", "decides the workload and each request's sampling", count(0, 2 ** 31 - 1), 1)
    .addOption(
      new Option("--batch <list>", "sequences that run at the same time, separated by commas")
        .argParser(counts(1, 4096))
        .default([8], "8"),
    )
    .option(
      "--variants <list>",
      "ways to attend: dense, default, sparq:1/4, sparq:r=16,k=128, ...; ratios are to the first",
      "dense,default",
    )
    .option("--rounds <n>", "runs of each, in turn", count(1, 1000), 3)
    .addOption(
      new Option("--kv-cache-mb <n>", "memory for the cache (default: as sparq serve)")
        .argParser(count(1, 2 ** 24))
        .env(variableOf("kvCacheMb")),
    )
    .option("--prefill-slowdown <x>", "as sparq serve has it, 0 for no limit", slowdown, 1.75);
  addRecordOptions(command).action(async (options: Omit<ThroughputOptions, "model"> & { model?: string }) => {
    const wrong = misplaced(options) ?? tooWide(options);
    if (wrong !== undefined) command.error(`error: ${wrong}`);
    const { runThroughput } = await import("./run.ts");
    exit(await runThroughput({ ...options, model: options.model ?? MODEL }, io));
  });
}

/** An option that the workload does not take, as a message. */
function misplaced(options: WorkloadOptions): string | undefined {
  const [wrong] = Object.entries(takers).filter(([option, names]) => {
    return options[option as keyof WorkloadOptions] !== undefined && !names.includes(options.workload);
  });
  if (wrong === undefined) return undefined;
  const [option, names] = wrong;
  return `${flagOf(option)} goes with --workload ${names.join(" or ")}, not ${options.workload}`;
}

/** A batch that would never be full, as a message. */
function tooWide({ batch, requests }: Pick<ThroughputOptions, "batch" | "requests">): string | undefined {
  const most = Math.max(...batch);
  return most <= requests ? undefined : `--batch ${most} needs as many requests at least, --requests is ${requests}`;
}

function ratio(text: string): number {
  const value = /^\d*\.?\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= 0 && value < 1) return value;
  throw new InvalidArgumentError("It must be a number from 0 to below 1.");
}

function slowdown(text: string): number {
  const value = /^\d*\.?\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value === 0 || (value >= 1 && value <= 1000)) return value;
  throw new InvalidArgumentError("It must be a number from 1 to 1000, or 0 for no limit.");
}
