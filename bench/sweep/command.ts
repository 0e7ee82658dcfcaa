import { type Command, Option } from "commander";
import type { CliIo } from "../../server/cli/io.ts";
import { addModelOptions, count, counts, MAX_CONTEXT, type ModelOptions } from "../options.ts";
import { addRecordOptions, type RecordOptions } from "../record/options.ts";

export interface SweepOptions extends ModelOptions, RecordOptions {
  readonly context?: readonly number[];
  readonly batch?: readonly number[];
  readonly variants?: string;
  readonly rounds?: number;
  readonly roundMs: number;
  readonly quick?: boolean;
}

const MODEL = "smollm2-135m-instruct";

/** `sparq bench sweep` */
export function addSweep(bench: Command, io: CliIo, exit: (code: number) => void): void {
  const sweep = bench
    .command("sweep")
    .description(
      "decode steps over context and batch: from where on SparQ pays, where their time goes, and what bytes explain of it",
    );
  addModelOptions(sweep, MODEL);
  const context = new Option(
    "--context <list>",
    "positions in each sequence's cache, separated by commas (default: 512 to 131072, doubling)",
  );
  const batch = new Option("--batch <list>", "sequences of a step, separated by commas (default: 1 to 32, doubling)");
  sweep
    .addOption(context.argParser(counts(1, MAX_CONTEXT)))
    .addOption(batch.argParser(counts(1, 1024)))
    .option(
      "--variants <list>",
      "ways to attend, as of sparq eval, dense among them (default: dense,default,sparq:1/2,sparq:1/4,sparq:1/8)",
    )
    .option("--rounds <n>", "rounds of each variant, in turn (default: 9, 3 with --quick)", count(3, 1000))
    .option("--round-ms <n>", "a round's steps of a variant take about so long, or one step", count(1, 60_000), 100)
    .option(
      "--quick",
      "contexts of 1024, 4096 and 16384, batches of 1 and 8, three variants; an end within two minutes",
    );
  addRecordOptions(sweep).action(async (options: Omit<SweepOptions, "model"> & { model?: string }) => {
    const { runSweep } = await import("./run.ts");
    exit(await runSweep({ ...options, model: options.model ?? MODEL }, io));
  });
}
