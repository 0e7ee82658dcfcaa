import { type Command, InvalidArgumentError, Option } from "commander";
import type { CliIo } from "../../server/cli/io.ts";
import { variableOf } from "../../server/cli/options.ts";
import { addModelBenchOptions, count, counts, MAX_CONTEXT, type ModelBenchOptions } from "../options.ts";
import { addRecordOptions, type RecordOptions } from "../record/options.ts";

export const peerNames = ["llama.cpp", "onnxruntime", "transformers.js", "transformers", "onnxruntime-genai"] as const;
export type PeerName = (typeof peerNames)[number];

export interface CompareOptions extends ModelBenchOptions, RecordOptions {
  readonly peers: readonly PeerName[];
  /** Folder with the model for peers that read no GGUF. */
  readonly export?: string;
  /** Interpreter for the peers in Python. */
  readonly python: string;
  readonly context: readonly number[];
  readonly batch: readonly number[];
  readonly rounds: number;
  /** Decode steps of a round. */
  readonly steps: number;
  /** A slow system's round has fewer steps, so that it takes no longer than this. */
  readonly roundSeconds: number;
  /** Rounds of prefill that are reported; 0: none are. */
  readonly prefill: number;
  /** llama.cpp's filled caches stay on disk for later runs. */
  readonly keepFill?: boolean;
}

const MODEL = "smollm2-135m-instruct";

/** `sparq bench compare` */
export function addCompare(bench: Command, io: CliIo, exit: (code: number) => void): void {
  const compare = bench
    .command("compare")
    .description("decode step time beside other programs on the same weights, in interleaved rounds");
  compare.addOption(
    new Option(
      "--peers <list>",
      `what to compare with, separated by commas: ${peerNames.join(", ")}; what is missing is skipped`,
    )
      .argParser(peerList)
      .default([...peerNames], "all"),
  );
  addModelBenchOptions(compare, MODEL);
  const context = new Option("--context <list>", "positions in each sequence's cache, separated by commas");
  const batch = new Option("--batch <list>", "sequences of a step, separated by commas");
  const prefill = new Option("--prefill [rounds]", "report prefill too, so many times in turn (3 if not said)");
  const python = new Option("--python <program>", "interpreter for transformers and onnxruntime-genai");
  compare
    .addOption(context.argParser(counts(1, MAX_CONTEXT)).default([2048], "2048"))
    .addOption(batch.argParser(counts(1, 1024)).default([1], "1"))
    .option("--rounds <n>", "rounds of each side, in turn", count(1, 1000), 5)
    .option("--steps <n>", "decode steps of a round, each one position on", count(1, 1024), 16)
    .option("--round-seconds <n>", "fewer steps, of a side whose round takes longer (but two)", count(1, 3600), 6)
    .addOption(prefill.argParser(count(1, 100)).preset("3").default(0, "no"))
    .option(
      "--export <folder>",
      "what python/export.py made of a GGUF model, for peers that read none (default: in the cache folder)",
    )
    .addOption(python.env(variableOf("python")).default("python3"))
    .option("--keep-fill", "keep llama.cpp's filled caches in the cache folder, and take those of an earlier run");
  addRecordOptions(compare).action(async (options: Omit<CompareOptions, "model"> & { model?: string }) => {
    const { runCompare } = await import("./run.ts");
    exit(await runCompare({ ...options, model: options.model ?? MODEL }, io));
  });
}

function peerList(text: string): PeerName[] {
  const names = text.split(",");
  const unknown = names.find((name) => !peerNames.includes(name as PeerName));
  if (unknown === undefined) return peerNames.filter((name) => names.includes(name));
  throw new InvalidArgumentError(`There is no peer "${unknown}"; there are ${peerNames.join(", ")}.`);
}
