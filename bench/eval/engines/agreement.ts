import { BLOCK_SIZE } from "../../../attention/session.ts";
import { defaultThreads } from "../../../attention/threads.ts";
import type { Traffic } from "../../../attention/types.ts";
import { Replay } from "../../accuracy/cache/replay.ts";
import { distributionsOf } from "../../accuracy/cache/tally.ts";
import { commonCharacters } from "../metrics/text.ts";
import type { GenerationItem, LayerAgreement, ScoringItem } from "../types.ts";
import { layoutKey, parseVariant, settingsOf, sharingGroups, type Variant } from "../variants.ts";
import { type GeneratorOptions, generateTexts } from "./generator.ts";
import { generateOnnxTexts, OnnxModel, predictOnnx } from "./onnx.ts";
import { type DecodedRows, RowTally } from "./row-tally.ts";
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
  /** Null of a model that reads no cache of ours. */
  readonly traffic: Traffic | null;
  /** What sparse rows kept, on average; without rows of a variant that attends densely. */
  readonly layers: readonly LayerAgreement[];
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
  const sizes = { context: longest(passages, model), threads, observe: true };
  const sessions = new Map<string, Replay>();
  for (const { layout } of [REFERENCE, ...variants]) {
    const key = layoutKey(layout);
    if (!sessions.has(key)) sessions.set(key, await Replay.open(model, { ...layout, blockSize: BLOCK_SIZE }, sizes));
  }
  const tallies = variants.map(() => new RowTally());
  const foreign = variants.some(({ family }) => family === "onnx")
    ? await OnnxModel.open(model, threads ?? defaultThreads())
    : null;
  try {
    for (const { tokens, next } of passages) {
      const dense = settingsOf(REFERENCE, tokens.length, model.config);
      for (const session of sessions.values()) await session.prefill(tokens, next.length, dense);
      const decode = async (variant: Variant): Promise<DecodedRows> => {
        signal.throwIfAborted();
        if (variant.family === "onnx") {
          const predictions = await predictOnnx(foreign!, { tokens, next }, model.config.vocabSize);
          return { predictions, traffic: null, observed: [] };
        }
        const replay = sessions.get(layoutKey(variant.layout))!;
        const settings = settingsOf(variant, tokens.length, model.config);
        replay.session.resetObserved();
        const { logits, traffic } = await replay.decode(settings);
        const observed = replay.session.observed();
        return { predictions: distributionsOf(logits, model.config.vocabSize), traffic, observed };
      };
      const { predictions: reference } = await decode(REFERENCE);
      for (const [v, variant] of variants.entries()) tallies[v]!.add(reference, await decode(variant));
      onItem();
    }
    return tallies.map((tally) => tally.rows());
  } finally {
    for (const session of sessions.values()) session.close();
    await foreign?.close();
  }
}

async function compareTexts(
  items: readonly ScoringItem[],
  variants: readonly Variant[],
  options: GeneratorOptions,
): Promise<number[][]> {
  const texts = new Map<Variant, readonly string[]>();
  const prompts = items.map(promptOf);
  for (const group of sharingGroups([REFERENCE, ...variants])) {
    const onItem = group.includes(REFERENCE) ? options.onItem : () => {};
    // One of the variants may have the reference's name.
    const named = group.map((variant, i) => ({ ...variant, name: `${i}` }));
    const own = { ...options, prompts: "plain" as const, onItem };
    const generated =
      group[0]!.family === "onnx"
        ? [await generateOnnxTexts(prompts, own)]
        : (await generateTexts(prompts, named, own)).texts;
    for (const [i, variant] of group.entries()) texts.set(variant, generated[i]!);
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
