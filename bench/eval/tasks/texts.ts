import { readText } from "../data/fields.ts";
import { readLongText, samplePath } from "../data/sample.ts";
import { bitsPerCharacter } from "../metrics/text.ts";
import type { ItemOptions, ScoringItem, Task, TextCost } from "../types.ts";
import { spread, takeTokens } from "./length.ts";

/** WikiText as the SparQ paper sets it up. */
export const wikitext: Task<ScoringItem> = {
  name: "wikitext",
  metric: "bits per character",
  better: "lower",
  description: "WikiText-2: bits per character of 400 characters after 6000",
  items(options) {
    const text = readText(options.data ?? samplePath("wikitext.txt"));
    const score = (continuation: string) => (cost: TextCost) => bitsPerCharacter(cost.nats, continuation.length);
    return passages(text, { ...options, context: 6000, continuation: 400 }, score);
  },
};

/** Perplexity by token of any text, after a context: of models with the same tokenizer only can it be compared. */
export const ppl: Task<ScoringItem> = {
  name: "ppl",
  metric: "perplexity",
  better: "lower",
  description: "perplexity of about 256 tokens of a text after a context",
  items(options) {
    const text = readLongText(options.data);
    return passages(
      text,
      { ...options, context: 6000, continuation: 1024 },
      () =>
        ({ nats, tokens }) =>
          nats / tokens,
    );
  },
  transform: Math.exp,
};

/** No labels: how near each variant is to dense attention, see engines/agreement.ts. */
export const agreement: Task<ScoringItem> = {
  name: "agreement",
  metric: "KL",
  better: "lower",
  description: "of any text: KL divergence from dense attention, same likeliest token, where greedy texts part",
  items(options) {
    const text = readLongText(options.data);
    return passages(
      text,
      { ...options, context: 6000, continuation: 512 },
      () =>
        ({ nats }) =>
          nats,
    );
  },
};

interface Passages extends ItemOptions {
  /** In characters. */
  readonly context: number;
  readonly continuation: number;
}

/** Passages evenly spread over a text, fewer than n if their continuations would overlap. */
function passages(
  text: string,
  { data, n, tokens, count, context, continuation }: Passages,
  score: (continuation: string) => ScoringItem["score"],
): ScoringItem[] {
  const before = tokens === undefined ? context : takeTokens(text, 0, tokens, count).length;
  const length = before + continuation;
  const most = Math.max(1, Math.floor((text.length - before) / continuation));
  return spread(Math.min(n, most), text, length, data ?? "the sample").map((start, i) => {
    const scored = text.slice(start + before, start + length);
    return {
      kind: "score",
      id: `${i}`,
      context: text.slice(start, start + before),
      continuation: scored,
      score: score(scored),
    };
  });
}
