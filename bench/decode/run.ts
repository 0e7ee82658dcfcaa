import { writeFileSync } from "node:fs";
import { greedySampling } from "../../attention/sampling.ts";
import { openSession, type Session } from "../../attention/session.ts";
import type { AttentionSettings, RowSampling } from "../../attention/types.ts";
import { loadModel } from "../../models/load.ts";
import type { ModelConfig } from "../../models/types.ts";
import type { CliIo } from "../../server/cli/io.ts";
import { attentionOf, cacheOf, served } from "../attention.ts";
import { describeMachine } from "../machine.ts";
import { loadOptionsOf } from "../options.ts";
import { median } from "../statistics.ts";
import type { DecodeOptions } from "./command.ts";

interface Result {
  readonly context: number;
  readonly batch: number;
  /** Of each sequence. */
  readonly rows: number;
  readonly mode: string;
  /** Median wall time of a step, milliseconds. */
  readonly msPerStep: number;
  /** Bytes of the KV cache that a step reads. */
  readonly bytes: number;
}

const PREFILL_CHUNK = 512;
const WARM_UP = 2;
/** Blocks of a sequence's own, behind those that it shares: its rows may cross a block's end. */
const OWN_BLOCKS = 2;

/** Measures decode steps of one model at each context, cut to the model's longest. */
export async function runDecode(options: DecodeOptions, io: CliIo): Promise<number> {
  const { config, graphPath } = await loadModel(options.model, loadOptionsOf(options));
  const attention = attentionOf(config, options);
  const contexts = [...new Set(options.context.map((context) => Math.min(context, config.maxPositions - 1)))];
  const shared = Math.ceil(Math.max(...contexts) / 64);
  const cache = cacheOf(options);
  const threads = options.threads === undefined ? {} : { threads: options.threads };
  const session = await openSession({
    graphPath,
    config,
    blocks: shared + OWN_BLOCKS * options.batch,
    ...cache,
    ...threads,
  });
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
  readonly rows: readonly number[];
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
  const cases = given.rows.flatMap((rows) =>
    [dense, given.attention].map((settings) => ({ rows, ...served(settings, context) })),
  );
  const tokens = Array.from({ length: context }, (_, i) => (i * 7919 + 13) % config.vocabSize);
  const pages = Array.from({ length: Math.ceil(context / session.blockSize) }, (_, page) => page);
  for (let start = 0; start < context; start += PREFILL_CHUNK) {
    const tokenIds = tokens.slice(start, start + PREFILL_CHUNK);
    const blockTable = pages.slice(0, Math.ceil((start + tokenIds.length) / session.blockSize));
    await session.step([
      { tokenIds, contextLength: start, blockTable, attention: dense, denseUntil: context, logits: "none" },
    ]);
  }
  // Every sequence writes its tokens into pages of its own.
  const full = Math.floor(context / session.blockSize);
  const ownOf = (i: number) => Array.from({ length: OWN_BLOCKS }, (_, block) => shared + OWN_BLOCKS * i + block);
  for (let i = 0; i < batch && full < pages.length; i++) session.store.copyBlock(pages[full]!, ownOf(i)[0]!);
  const sequences = ({ rows, attention }: (typeof cases)[number]) =>
    Array.from({ length: batch }, (_, i) => ({
      tokenIds: new Array<number>(rows).fill(1),
      contextLength: context,
      blockTable: [...pages.slice(0, full), ...ownOf(i)],
      attention,
      denseUntil: context,
      logits: "all" as const,
      sampling: new Array<RowSampling>(rows).fill(greedySampling),
    }));
  const times = cases.map((): number[] => []);
  const bytes = cases.map(() => 0);
  for (let round = -WARM_UP; round < rounds; round++) {
    for (const [i, one] of cases.entries()) {
      const { seconds, traffic } = await session.step(sequences(one));
      if (round >= 0) times[i]!.push(seconds * 1000);
      bytes[i] = traffic.scoreBytes + traffic.gatherBytes + traffic.denseBytes;
    }
  }
  return cases.map(({ rows, mode }, i) => {
    return { context, batch, rows, mode, msPerStep: median(times[i]!), bytes: bytes[i]! };
  });
}

function tableOf(results: readonly Result[]): string {
  const lines = [
    "| context | batch | rows | attention | ms per step | MB of cache read | time against dense | against one row |",
    "|---|---|---|---|---|---|---|---|",
  ];
  const like = (result: Result, other: Partial<Result>) => {
    const { context, rows, mode } = { ...result, ...other };
    return results.find((r) => r.context === context && r.rows === rows && r.mode === mode);
  };
  const ratio = (result: Result, to: Result | undefined) =>
    to ? `${(result.msPerStep / to.msPerStep).toFixed(2)}x` : "";
  for (const result of results) {
    const { context, batch, rows, mode, msPerStep, bytes } = result;
    const ratios = [ratio(result, like(result, { mode: "dense" })), ratio(result, like(result, { rows: 1 }))];
    lines.push(
      `| ${[context, batch, rows, mode, msPerStep.toFixed(2), (bytes / 1e6).toFixed(1), ...ratios].join(" | ")} |`,
    );
  }
  return `${lines.join("\n")}\n`;
}
