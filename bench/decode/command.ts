import { type Command, Option } from "commander";
import type { CliIo } from "../../server/cli/io.ts";
import { addModelBenchOptions, count, counts, MAX_CONTEXT, type ModelBenchOptions } from "../options.ts";

export interface DecodeOptions extends ModelBenchOptions {
  readonly context: readonly number[];
  readonly batch: number;
  readonly rows: readonly number[];
  readonly rounds: number;
  readonly json?: string;
}

/** `sparq bench decode` */
export function addDecode(bench: Command, io: CliIo, exit: (code: number) => void): void {
  const decode = bench
    .command("decode")
    .description("median time of a decode step, dense and with SparQ in turn, over a cache filled by prefill");
  addModelBenchOptions(decode, "tiny-llama");
  const context = new Option("--context <list>", "positions in the cache, separated by commas");
  decode
    .addOption(context.argParser(counts(1, MAX_CONTEXT)).default([512, 2048, 4095], "512,2048,4095"))
    .option("--batch <n>", "sequences; they share the prompt's pages but the last", count(1, 1024), 1)
    .addOption(
      new Option("--rows <list>", "rows of each sequence, its next token and drafts after it, separated by commas")
        .argParser(counts(1, 64))
        .default([1], "1"),
    )
    .option("--rounds <n>", "steps of each mode, in turn", count(1, 10_000), 21)
    .option("--json <file>", "write the results there too")
    .action(async (options: Omit<DecodeOptions, "model"> & { model?: string }) => {
      const { runDecode } = await import("./run.ts");
      exit(await runDecode({ ...options, model: options.model ?? "tiny-llama" }, io));
    });
}
