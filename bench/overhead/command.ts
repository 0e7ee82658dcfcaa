import type { Command } from "commander";
import type { CliIo } from "../../server/cli/io.ts";
import { addModelBenchOptions, count, MAX_CONTEXT, type ModelBenchOptions } from "../options.ts";

export interface OverheadOptions extends ModelBenchOptions {
  readonly batch: number;
  readonly context: number;
  readonly tokens: number;
  readonly rounds: number;
  readonly json?: string;
}

const MODEL = "smollm2-135m-instruct";

/** `sparq bench overhead` */
export function addOverhead(bench: Command, io: CliIo, exit: (code: number) => void): void {
  const command = bench
    .command("overhead")
    .description("what HTTP, JSON, sampling and scheduling add to the decode steps of concurrent streams");
  addModelBenchOptions(command, MODEL);
  command
    .option("--batch <n>", "streams at the same time", count(1, 256), 16)
    .option("--context <n>", "tokens of each stream's prompt, about", count(64, MAX_CONTEXT), 512)
    .option("--tokens <n>", "tokens of each answer", count(16, 10_000), 128)
    .option("--rounds <n>", "runs of each side, in turn", count(1, 1000), 7)
    .option("--json <file>", "write the results there too")
    .action(async (options: Omit<OverheadOptions, "model"> & { model?: string }) => {
      const { runOverhead } = await import("./run.ts");
      exit(await runOverhead({ ...options, model: options.model ?? MODEL }, io));
    });
}
