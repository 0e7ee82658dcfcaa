import { writeFileSync } from "node:fs";
import { openSession, type Session } from "../../attention/session.ts";
import type { AttentionSettings } from "../../attention/types.ts";
import { loadModel } from "../../models/load.ts";
import type { ModelConfig } from "../../models/types.ts";
import type { CliIo } from "../../server/cli/io.ts";
import { attentionOf, cacheOf, describeAttention } from "../attention.ts";
import { describeMachine } from "../machine.ts";
import { median } from "../statistics.ts";
import type { DecodeOptions } from "./command.ts";

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
const WARM_UP = 2;

/** Measures decode steps of one model at each context, cut to the model's longest. */
export async function runDecode(options: DecodeOptions, io: CliIo): Promise<number> {
  const { config, graphPath } = await loadModel(options.model);
  const attention = attentionOf(config, options);
  const contexts = [...new Set(options.context.map((context) => Math.min(context, config.maxPositions - 1)))];
  const shared = Math.ceil(Math.max(...contexts) / 64);
  const cache = cacheOf(options);
  const threads = options.threads === undefined ? {} : { threads: options.threads };
  const session = await openSession({ graphPath, config, blocks: shared + options.batch, ...cache, ...threads });
  const results: Result[] = [];
  try {
    for (const context of contexts) {
      io.stop.throwIfAborted();
      results.push(...(await measure(session, { ...options, attention, config, context, shared })));
    }
  } finally {
    session.close();
  }
  io.out(tableOf(results));
  if (options.json) {
    const report = { machine: describeMachine(session.threads), model: options.model, cache, results };
    writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`);
  }
  return 0;
}

interface Measurement {
  readonly context: number;
  readonly batch: number;
  readonly rounds: number;
  readonly attention: AttentionSettings;
  readonly config: ModelConfig;
  /** Blocks that the prompt may take; behind them each sequence has one of its own. */
  readonly shared: number;
}

/** Pages are shared among the sequences: what is read is the same, and a large batch needs little memory. */
async function measure(session: Session, given: Measurement): Promise<Result[]> {
  const { context, batch, rounds, config, shared } = given;
  const dense: AttentionSettings = { ...given.attention, mode: "dense" };
  const modes = [dense, given.attention];
  const tokens = Array.from({ length: context }, (_, i) => (i * 7919 + 13) % config.vocabSize);
  const pages = Array.from({ length: Math.ceil(context / session.blockSize) }, (_, page) => page);
  for (let start = 0; start < context; start += PREFILL_CHUNK) {
    const tokenIds = tokens.slice(start, start + PREFILL_CHUNK);
    const blockTable = pages.slice(0, Math.ceil((start + tokenIds.length) / session.blockSize));
    await session.step([
      { tokenIds, contextLength: start, blockTable, attention: dense, denseUntil: context, logits: "none" },
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
  for (let round = -WARM_UP; round < rounds; round++) {
    for (const [i, attention] of modes.entries()) {
      const { seconds, traffic } = await session.step(sequences(attention));
      if (round >= 0) times[i]!.push(seconds * 1000);
      bytes[i] = traffic.scoreBytes + traffic.gatherBytes + traffic.denseBytes;
    }
  }
  return modes.map((attention, i) => {
    const mode = describeAttention(attention);
    return { context, batch, mode, msPerStep: median(times[i]!), bytes: bytes[i]! };
  });
}

function tableOf(results: readonly Result[]): string {
  const lines = [
    "| context | batch | attention | ms per step | MB of cache read | time against dense |",
    "|---|---|---|---|---|---|",
  ];
  for (const { context, batch, mode, msPerStep, bytes } of results) {
    const dense = results.find((result) => result.context === context && result.mode === "dense")!;
    const cells = [context, batch, mode, msPerStep.toFixed(2), (bytes / 1e6).toFixed(1)];
    lines.push(`| ${[...cells, `${(msPerStep / dense.msPerStep).toFixed(2)}x`].join(" | ")} |`);
  }
  return `${lines.join("\n")}\n`;
}
