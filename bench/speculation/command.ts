import { type Command, Option } from "commander";
import type { CliIo } from "../../server/cli/io.ts";
import { defaultSpeculation } from "../../server/engine/speculation.ts";
import { addModelBenchOptions, count, counts, type ModelBenchOptions } from "../options.ts";

export interface SpeculationOptions extends ModelBenchOptions {
  readonly batch: readonly number[];
  readonly maxTokens: number;
  readonly draftTokens: number;
  readonly rounds: number;
  readonly json?: string;
}

const MODEL = "smollm2-135m-instruct";

/** `sparq bench speculation` */
export function addSpeculation(bench: Command, io: CliIo, exit: (code: number) => void): void {
  const command = bench
    .command("speculation")
    .description("decoding with and without drafts in turn, where answers quote their prompts and where they do not");
  addModelBenchOptions(command, MODEL);
  const batch = new Option("--batch <list>", "sequences that run together, separated by commas");
  command
    .addOption(batch.argParser(counts(1, 64)).default([1, 4], "1,4"))
    .option("--max-tokens <n>", "tokens of each answer, at most", count(2, 4096), 200)
    .option("--draft-tokens <n>", "tokens of a draft, at most", count(1, 64), defaultSpeculation.maxDraft)
    .option("--rounds <n>", "runs of each kind, in turn", count(1, 1000), 5)
    .option("--json <file>", "write the results there too")
    .action(async (options: Omit<SpeculationOptions, "model"> & { model?: string }) => {
      const { runSpeculation } = await import("./run.ts");
      exit(await runSpeculation({ ...options, model: options.model ?? MODEL }, io));
    });
}
