import type { Command } from "commander";
import type { CliIo } from "../../server/cli/io.ts";
import { count } from "../options.ts";

export interface HealthOptions {
  readonly model: string;
  readonly prompt: number;
  readonly megabytes: number;
  readonly json?: string;
}

/** `sparq bench health` */
export function addHealth(bench: Command, io: CliIo, exit: (code: number) => void): void {
  bench
    .command("health")
    .description("how long /health takes to answer while huge texts are tokenised and a long prompt is prefilled")
    .option("--model <name|path>", "what to serve", "smollm2-135m-instruct")
    .option("--prompt <n>", "tokens of the long prompt", count(1, 2 ** 20), 8000)
    .option("--megabytes <n>", "size of each text", count(1, 15), 5)
    .option("--json <file>", "write the results there too")
    .action(async (options: HealthOptions) => {
      const { runHealth } = await import("./run.ts");
      exit(await runHealth(options, io));
    });
}
