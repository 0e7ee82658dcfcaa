import { type Command, Option } from "commander";
import type { CliIo } from "../../server/cli/io.ts";
import { addModelBenchOptions, count, counts, MAX_CONTEXT, type ModelBenchOptions } from "../options.ts";

export const peers = ["llama.cpp"] as const;

export interface CompareOptions extends ModelBenchOptions {
  readonly peer: (typeof peers)[number];
  readonly context: readonly number[];
  readonly batch: readonly number[];
  readonly rounds: number;
  /** Decode steps of a round. */
  readonly steps: number;
  /** Rounds of prefill that are reported; 0: none are. */
  readonly prefill: number;
  /** The peer's filled caches stay on disk for later runs. */
  readonly keepFill?: boolean;
  readonly json?: string;
}

const MODEL = "smollm2-135m-instruct";

/** `sparq bench compare` */
export function addCompare(bench: Command, io: CliIo, exit: (code: number) => void): void {
  const compare = bench
    .command("compare")
    .description("decode step time against another program on the same model file, in interleaved rounds");
  compare.addOption(new Option("--peer <name>", "what to compare with").choices(peers).default(peers[0]));
  addModelBenchOptions(compare, MODEL);
  const context = new Option("--context <list>", "positions in each sequence's cache, separated by commas");
  const batch = new Option("--batch <list>", "sequences of a step, separated by commas");
  const prefill = new Option("--prefill [rounds]", "report prefill too, so many times in turn (3 if not said)");
  compare
    .addOption(context.argParser(counts(1, MAX_CONTEXT)).default([2048], "2048"))
    .addOption(batch.argParser(counts(1, 1024)).default([1], "1"))
    .option("--rounds <n>", "rounds of each side, in turn", count(1, 1000), 5)
    .option("--steps <n>", "decode steps of a round, each one position on", count(1, 1024), 16)
    .addOption(prefill.argParser(count(1, 100)).preset("3").default(0, "no"))
    .option("--keep-fill", "keep the peer's filled caches in the cache folder, and take those of an earlier run")
    .option("--json <file>", "write the results there too")
    .action(async (options: Omit<CompareOptions, "model"> & { model?: string }) => {
      const { runCompare } = await import("./run.ts");
      exit(await runCompare({ ...options, model: options.model ?? MODEL }, io));
    });
}
