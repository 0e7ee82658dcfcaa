import { type Command, InvalidArgumentError } from "commander";
import type { CliIo } from "../../server/cli/io.ts";
import { addModelBenchOptions, count, MAX_CONTEXT, type ModelBenchOptions } from "../options.ts";

export interface PaceOptions extends ModelBenchOptions {
  readonly prompt: number;
  readonly context: number;
  readonly slowdowns: readonly number[];
  readonly json?: string;
}

const MODEL = "smollm2-135m-instruct";

/** `sparq bench pace` */
export function addPace(bench: Command, io: CliIo, exit: (code: number) => void): void {
  const command = bench
    .command("pace")
    .description(
      "a running stream's time between tokens while a long prompt is computed, and that prompt's first token",
    );
  addModelBenchOptions(command, MODEL);
  command
    .option("--prompt <n>", "tokens of the long prompt", count(1, MAX_CONTEXT), 8000)
    .option("--context <n>", "tokens of the stream's own prompt", count(1, MAX_CONTEXT), 300)
    .option("--slowdowns <list>", "--prefill-slowdown values, 0 for no limit", factors, [1.75, 0])
    .option("--json <file>", "write the results there too")
    .action(async (options: Omit<PaceOptions, "model"> & { model?: string }) => {
      const { runPace } = await import("./run.ts");
      exit(await runPace({ ...options, model: options.model ?? MODEL }, io));
    });
}

function factors(text: string): readonly number[] {
  return text.split(",").map((part) => {
    const value = part.trim() === "" ? Number.NaN : Number(part);
    if (value === 0 || (value >= 1 && value <= 1000)) return value;
    throw new InvalidArgumentError("It must be numbers from 1 to 1000, or 0 for no limit, separated by commas.");
  });
}
