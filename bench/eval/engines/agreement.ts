import { BLOCK_SIZE } from "../../../attention/session.ts";
import type { Traffic } from "../../../attention/types.ts";
import { addTraffic } from "../../../server/engine/step-report.ts";
import { Replay } from "../../accuracy/cache/replay.ts";
import { distributionsOf } from "../../accuracy/cache/tally.ts";
import { type Distribution, divergence } from "../../accuracy/divergence.ts";
import { mean } from "../../statistics.ts";
import { commonCharacters } from "../metrics/text.ts";
import type { GenerationItem, ScoringItem } from "../types.ts";
import { type CacheLayout, layoutKey, parseVariant, type Variant } from "../variants.ts";
import { type GeneratorOptions, generateTexts } from "./generator.ts";
import { NO_TRAFFIC } from "./metered-runner.ts";
import { longest, passageOf } from "./scorer.ts";

/** What everything is compared with: dense attention over the cache that a server has. */
const REFERENCE = parseVariant("dense");
/** Of a text that is generated to see where it departs from the reference's. */
const MAX_TOKENS = 128;

/** How near a variant is to dense attention. */
export interface Agreement {
  /** Of each item: KL(dense || variant), nats a token; the largest of the item's rows; share of rows with the same likeliest token. */
  readonly kl: readonly number[];
  readonly klMax: readonly number[];
  readonly top1: readonly number[];
  /** Of each item: characters of the greedy text before it departs from dense attention's. */
  readonly characters: readonly number[];
  readonly traffic: Traffic;
}

/**
 * Compares variants with dense attention, without any labels: on a continuation's rows, each with the true tokens before it,
 * and by the text that each would write there.
 */
export async function compareWithDense(
  items: readonly ScoringItem[],
  variants: readonly Variant[],
  options: GeneratorOptions,
): Promise<Agreement[]> {
  const half = { ...options, onItem: everySecond(options.onItem) };
  const rows = await compareRows(items, variants, half);
  const characters = await compareTexts(items, variants, half);
  return rows.map((own, v) => ({ ...own, characters: characters[v]! }));
}

type Rows = Omit<Agreement, "characters">;

async function compareRows(
  items: readonly ScoringItem[],
  variants: readonly Variant[],
  { model, tokenizer, threads, signal, onItem }: GeneratorOptions,
): Promise<Rows[]> {
  const passages = items.map((item) => passageOf(tokenizer, item));
  const context = longest(passages, model);
  const sessions = new Map<string, Replay>();
  const sessionOf = async (layout: CacheLayout) => {
    const key = layoutKey(layout);
    const open =
      sessions.get(key) ?? (await Replay.open(model, { ...layout, blockSize: BLOCK_SIZE }, { context, threads }));
    sessions.set(key, open);
    return open;
  };
  const rows = variants.map(() => ({
    kl: [] as number[],
    klMax: [] as number[],
    top1: [] as number[],
    traffic: NO_TRAFFIC,
  }));
  try {
    for (const passage of passages) {
      const filled = new Set<Replay>();
      const decode = async (variant: Variant) => {
        signal.throwIfAborted();
        const session = await sessionOf(variant.layout);
        const settings = variant.settings(passage.tokens.length, model.config);
        if (!filled.has(session))
          await session.prefill(passage.tokens, passage.next.length, { ...settings, mode: "dense" });
        filled.add(session);
        const { logits, traffic } = await session.decode(settings, settings.minContext);
        return { predictions: distributionsOf(logits, model.config.vocabSize), traffic };
      };
      const reference = (await decode(REFERENCE)).predictions;
      for (const [v, variant] of variants.entries()) {
        const { predictions, traffic } = await decode(variant);
        const divergences = predictions.map((own, i) => divergence(reference[i]!, own));
        rows[v]!.kl.push(mean(divergences));
        rows[v]!.klMax.push(Math.max(...divergences));
        rows[v]!.top1.push(sameTop(reference, predictions));
        rows[v]!.traffic = addTraffic(rows[v]!.traffic, traffic);
      }
      onItem();
    }
    return rows;
  } finally {
    for (const session of sessions.values()) session.close();
  }
}

function sameTop(reference: readonly Distribution[], predictions: readonly Distribution[]): number {
  return predictions.filter(({ top }, i) => top === reference[i]!.top).length / predictions.length;
}

async function compareTexts(
  items: readonly ScoringItem[],
  variants: readonly Variant[],
  options: GeneratorOptions,
): Promise<number[][]> {
  const texts = new Map<Variant, readonly string[]>();
  const layouts = new Map([REFERENCE, ...variants].map(({ layout }) => [layoutKey(layout), layout]));
  const prompts = items.map(promptOf);
  for (const key of layouts.keys()) {
    const group = [REFERENCE, ...variants].filter(({ layout }) => layoutKey(layout) === key);
    const onItem = key === layoutKey(REFERENCE.layout) ? options.onItem : () => {};
    // Texts are all the same to the reference and a variant that says the same: the engine wants names that differ.
    const named = group.map((variant, i) => ({ ...variant, name: `${i}` }));
    const generated = await generateTexts(prompts, named, { ...options, prompts: "plain", onItem });
    for (const [i, variant] of group.entries()) texts.set(variant, generated.texts[i]!);
  }
  const reference = texts.get(REFERENCE)!;
  return variants.map((variant) => texts.get(variant)!.map((text, i) => commonCharacters(text, reference[i]!)));
}

/** What is written after the context. */
function promptOf({ id, context }: ScoringItem): GenerationItem {
  const border = context.search(/\s*\S+\s*$/);
  return {
    kind: "generate",
    id,
    context: context.slice(0, border),
    question: context.slice(border),
    maxTokens: MAX_TOKENS,
    stop: [],
    score: () => 0,
  };
}

/** Each item is gone through twice. */
function everySecond(onItem: () => void): () => void {
  let calls = 0;
  return () => {
    calls += 1;
    if (calls % 2 === 0) onItem();
  };
}
