/** Time of a decode step by context and mode of attention: node dist/bench/decode.js --model M --contexts 2048,8192 --json FILE */
import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { Command } from "commander";
import { defaultAttention } from "../attention/defaults.ts";
import { openSession, type Session } from "../attention/session.ts";
import type { AttentionSettings } from "../attention/types.ts";
import { loadModel } from "../models/load.ts";
import type { ModelConfig } from "../models/types.ts";

interface Result {
  readonly context: number;
  readonly batch: number;
  readonly mode: string;
  /** Median wall time of a step, milliseconds. */
  readonly msPerStep: number;
  /** Bytes of the KV cache that a step reads. */
  readonly bytes: number;
}

const PREFILL_CHUNK = 512;

const options = new Command()
  .description("Median time of a decode step, dense and with SparQ in turn, over a cache filled by prefill")
  .option("--model <name|path>", "model", "tiny-llama")
  .option("--contexts <list>", "positions in the cache, separated by commas", "512,2048,4095")
  .option("--batch <n>", "sequences; they share the prompt's pages but the last", "1")
  .option("--rounds <n>", "steps of each mode, in turn", "21")
  .option("--threads <n>", "default: what the container allows")
  .option("--json <file>", "write the results there too")
  .parse()
  .opts<{ model: string; contexts: string; batch: string; rounds: string; threads?: string; json?: string }>();

const { config, graphPath } = await loadModel(options.model);
const batch = Number(options.batch);
const contexts = options.contexts.split(",").map((text) => Math.min(Number(text), config.maxPositions - 1));
const threads = options.threads === undefined ? {} : { threads: Number(options.threads) };
const shared = Math.ceil(config.maxPositions / 64);
const session = await openSession({ graphPath, config, blocks: shared + batch, ...threads });
const sparq = defaultAttention(config);
const modes: readonly (readonly [string, AttentionSettings])[] = [
  ["dense", { ...sparq, mode: "dense" }],
  [`sparq r ${sparq.r} k ${sparq.k}`, sparq],
];

const results: Result[] = [];
for (const context of contexts) results.push(...(await measure(session, config, context)));
session.close();
print(results);
if (options.json) {
  const machine = { cpu: cpus()[0]?.model, threads: session.threads };
  writeFileSync(options.json, `${JSON.stringify({ machine, model: options.model, results }, null, 2)}\n`);
}

/** Pages are shared among the sequences: what is read is the same, and a large batch needs little memory. */
async function measure(session: Session, config: ModelConfig, context: number): Promise<Result[]> {
  const tokens = Array.from({ length: context }, (_, i) => (i * 7919 + 13) % config.vocabSize);
  const pages = Array.from({ length: Math.ceil(context / session.blockSize) }, (_, page) => page);
  for (let start = 0; start < context; start += PREFILL_CHUNK) {
    const tokenIds = tokens.slice(start, start + PREFILL_CHUNK);
    const attention = { ...sparq, mode: "dense" as const };
    const blockTable = pages.slice(0, Math.ceil((start + tokenIds.length) / session.blockSize));
    await session.step([
      { tokenIds, contextLength: start, blockTable, attention, denseUntil: context, logits: "none" },
    ]);
  }
  // Every sequence writes its token into a page of its own.
  const full = Math.floor(context / session.blockSize);
  for (let i = 0; i < batch && full < pages.length; i++) session.store.copyBlock(pages[full]!, shared + i);
  const sequences = (attention: AttentionSettings) =>
    Array.from({ length: batch }, (_, i) => ({
      tokenIds: [1],
      contextLength: context,
      blockTable: [...pages.slice(0, full), shared + i],
      attention,
      denseUntil: context,
      logits: "last" as const,
    }));
  const times = modes.map((): number[] => []);
  const bytes = modes.map(() => 0);
  for (let round = -2; round < Number(options.rounds); round++) {
    for (const [i, [, attention]] of modes.entries()) {
      const { seconds, traffic } = await session.step(sequences(attention));
      if (round >= 0) times[i]!.push(seconds * 1000);
      bytes[i] = traffic.scoreBytes + traffic.gatherBytes + traffic.denseBytes;
    }
  }
  return modes.map(([mode], i) => ({ context, batch, mode, msPerStep: median(times[i]!), bytes: bytes[i]! }));
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

function print(results: readonly Result[]): void {
  console.log("| context | batch | attention | ms per step | MB of cache read | time against dense |");
  console.log("|---|---|---|---|---|---|");
  for (const { context, batch, mode, msPerStep, bytes } of results) {
    const dense = results.find((result) => result.context === context && result.mode === "dense")!;
    const cells = [context, batch, mode, msPerStep.toFixed(2), (bytes / 1e6).toFixed(1)];
    console.log(`| ${[...cells, `${(msPerStep / dense.msPerStep).toFixed(2)}x`].join(" | ")} |`);
  }
}
