import { BLOCK_SIZE } from "../../../attention/session.ts";
import type { Traffic } from "../../../attention/types.ts";
import type { PreparedModel } from "../../../models/types.ts";
import { addTraffic } from "../../../server/engine/step-report.ts";
import type { Tokenizer } from "../../../server/engine/types.ts";
import { Replay } from "../../accuracy/cache/replay.ts";
import { distributionsOf } from "../../accuracy/cache/tally.ts";
import { type Distribution, surprise } from "../../accuracy/divergence.ts";
import type { ScoringItem, TextCost } from "../types.ts";
import { settingsOf, type Variant } from "../variants.ts";
import { NO_TRAFFIC } from "./metered-runner.ts";
import { encodePrompt } from "./prompts.ts";

export interface ScorerOptions {
  readonly model: PreparedModel;
  readonly tokenizer: Tokenizer;
  readonly threads?: number;
  readonly signal: AbortSignal;
  readonly onItem: () => void;
}

export interface Scored {
  /** [variants][items] */
  readonly costs: readonly (readonly TextCost[])[];
  /** [variants] */
  readonly traffic: readonly Traffic[];
}

/** A passage whose last rows are predicted: each row's successor. */
export interface Passage {
  readonly tokens: readonly number[];
  readonly next: readonly number[];
  /** Of those, how many at the end are scored. */
  readonly scored: number;
}

/** The last row before the continuation predicts its first token, and its last token predicts nothing. */
export function passageOf(tokenizer: Tokenizer, { context, question = "", continuation }: ScoringItem): Passage {
  const { tokens, contextTokens } = encodePrompt(tokenizer, context, question + continuation);
  const next = tokens.slice(Math.max(1, contextTokens));
  const before =
    question === "" ? contextTokens : encodePrompt(tokenizer, context + question, continuation).contextTokens;
  return { tokens: tokens.slice(0, -1), next, scored: Math.min(next.length, tokens.length - before) };
}

/** What the scored tokens cost, given what each of the passage's predicted rows makes of its successor. */
export function costOf(rows: readonly Distribution[], { next, scored }: Omit<Passage, "tokens">): TextCost {
  const first = next.length - scored;
  const nats = rows.slice(first).reduce((sum, row, i) => sum + surprise(row, next[first + i]!), 0);
  return { nats, tokens: scored };
}

/** Throws RangeError for a passage that the model cannot take. */
export function longest(passages: readonly Passage[], { config }: PreparedModel): number {
  const most = Math.max(...passages.map(({ tokens }) => tokens.length));
  if (most > config.maxPositions) {
    throw new RangeError(`a passage has ${most} tokens, the model has ${config.maxPositions} positions`);
  }
  return most;
}

/**
 * Scores continuations in every variant, all of one cache layout: a context is computed once, and the continuation's rows
 * are decoded again and again.
 */
export async function scoreTexts(
  items: readonly ScoringItem[],
  variants: readonly Variant[],
  { model, tokenizer, threads, signal, onItem }: ScorerOptions,
): Promise<Scored> {
  const passages = items.map((item) => passageOf(tokenizer, item));
  const layout = { ...variants[0]!.layout, blockSize: BLOCK_SIZE };
  const replay = await Replay.open(model, layout, { context: longest(passages, model), threads });
  const costs: TextCost[][] = variants.map(() => []);
  const traffic = variants.map(() => NO_TRAFFIC);
  try {
    for (const passage of passages) {
      const { tokens, next } = passage;
      signal.throwIfAborted();
      const settings = variants.map((variant) => settingsOf(variant, tokens.length, model.config));
      await replay.prefill(tokens, next.length, { ...settings[0]!, mode: "dense" });
      for (const [v, own] of settings.entries()) {
        const replayed = await replay.decode(own);
        const rows = distributionsOf(replayed.logits, model.config.vocabSize);
        costs[v]!.push(costOf(rows, passage));
        traffic[v] = addTraffic(traffic[v]!, replayed.traffic);
      }
      onItem();
    }
    return { costs, traffic };
  } finally {
    replay.close();
  }
}
