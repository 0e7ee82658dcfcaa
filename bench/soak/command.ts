import type { Command } from "commander";
import type { CliIo } from "../../server/cli/io.ts";
import { count } from "../options.ts";

export interface SoakOptions {
  readonly model: string;
  readonly minutes: number;
  readonly clients: number;
  readonly seed: number;
  /** So little that requests wait for blocks and lose them, enough for one of 1536 tokens. */
  readonly kvCacheMb: number;
  /** Answers to requests that came once that are computed again alone, at most. */
  readonly verify: number;
  readonly json?: string;
}

/** `sparq bench soak` */
export function addSoak(bench: Command, io: CliIo, exit: (code: number) => void): void {
  bench
    .command("soak")
    .description("serve clients that come, ask anything and leave at any time, and check every answer and what remains")
    .option("--model <name|path>", "what to serve", "tiny-llama")
    .option("--minutes <n>", "how long, parts of a minute too", minutes, 10)
    .option("--clients <n>", "requests at the same time", count(1, 1024), 64)
    .option("--seed <n>", "what they ask and when they leave", count(0, 2 ** 31 - 1), 1)
    .option("--kv-cache-mb <n>", "the server's cache, for 1536 tokens at least: 44 for SmolLM2", count(1, 2 ** 20), 8)
    .option("--verify <n>", "answers to unique requests to compute again alone, at most", count(0, 1_000_000), 500)
    .option("--json <file>", "write the results there too")
    .action(async (options: SoakOptions) => {
      const { runSoak } = await import("./run.ts");
      exit(await runSoak(options, io));
    });
}

function minutes(text: string): number {
  const value = Number(text);
  if (text.trim() !== "" && value > 0 && value <= 1440) return value;
  throw new Error(`--minutes must be a number over 0 and at most 1440, not '${text}'`);
}
