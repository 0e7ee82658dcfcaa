import { BLOCK_SIZE, bytesPerBlock, openSession } from "../../../attention/session.ts";
import type { Traffic } from "../../../attention/types.ts";
import type { PreparedModel } from "../../../models/types.ts";
import { createEngine } from "../../../server/engine/engine.ts";
import { defaultSchedulerSettings } from "../../../server/engine/scheduler-types.ts";
import type { Engine, GenerateRequest, Tokenizer } from "../../../server/engine/types.ts";
import type { GenerationItem } from "../types.ts";
import { settingsOf, type Variant } from "../variants.ts";
import { MeteredRunner } from "./metered-runner.ts";
import { type EncodedPrompt, encodePrompt, type PromptStyle } from "./prompts.ts";

const MAX_ROWS = 512;

export interface GeneratorOptions {
  readonly model: PreparedModel;
  readonly tokenizer: Tokenizer;
  readonly threads?: number;
  /** Items under way at the same time. */
  readonly batch: number;
  /** Memory for the cache at most, in bytes; fewer items are under way where it does not suffice. */
  readonly cacheBytes: number;
  /** Whether questions attend as the variant does, or densely as prompts do in a server. */
  readonly question: "variant" | "dense";
  readonly prompts: PromptStyle;
  readonly signal: AbortSignal;
  /** An item is done in all variants. */
  readonly onItem: () => void;
}

export interface Generated {
  /** [variants][items] */
  readonly texts: readonly (readonly string[])[];
  /** [variants] */
  readonly traffic: readonly Traffic[];
}

/**
 * Generates the items' texts in every variant of a sharing group, through an engine as a server has it. The first variant
 * computes an item's context, and the others find it in the prefix cache.
 */
export async function generateTexts(
  items: readonly GenerationItem[],
  variants: readonly Variant[],
  options: GeneratorOptions,
): Promise<Generated> {
  const { model, tokenizer, prompts: style, signal, onItem } = options;
  const { config } = model;
  const prompts = items.map((item) => encodePrompt(tokenizer, item.context, item.question, style));
  const { blocks, batch } = sizeOf(items, prompts, variants, options);
  const session = await openSession({
    graphPath: model.graphPath,
    config,
    blocks,
    ...variants[0]!.layout,
    ...(options.threads === undefined ? {} : { threads: options.threads }),
  });
  const runner = new MeteredRunner(session, (id) => id.slice(id.indexOf(" ") + 1));
  const maxRunning = batch * variants.length;
  const engine = createEngine({
    runner,
    config,
    tokenizer,
    // Masses are a sequence's own.
    cache: { blocks, blockSize: BLOCK_SIZE, prefixCaching: !variants[0]!.layout.trackMass },
    scheduler: {
      maxRunning,
      maxRows: Math.max(MAX_ROWS, maxRunning),
      // Drafts would be read for too, and be wrong at times.
      speculation: null,
      prefill: { ...defaultSchedulerSettings.prefill, slowdown: Number.POSITIVE_INFINITY },
    },
  });
  const texts = variants.map(() => items.map(() => ""));
  try {
    let next = 0;
    const work = async () => {
      while (next < items.length) {
        const i = next++;
        const item = items[i]!;
        const run = (v: number, onContext?: () => void) => {
          const request = requestOf(item, prompts[i]!, variants[v]!, `${i} ${variants[v]!.name}`, options);
          return textOf(engine, request, item, signal, onContext);
        };
        let others: Promise<string>[] = [];
        // The context is in the prefix cache once the first variant has a token.
        const first = await run(0, () => {
          others = variants.slice(1).map((_, v) => run(v + 1));
          // They are waited for below, unless the first fails: then it is its error that counts.
          for (const other of others) other.catch(() => {});
        });
        for (const [v, text] of [first, ...(await Promise.all(others))].entries()) texts[v]![i] = text;
        onItem();
      }
    };
    await Promise.all(Array.from({ length: batch }, work));
    return { texts, traffic: variants.map(({ name }) => runner.traffic(name)) };
  } finally {
    await engine.close();
  }
}

/** What the cache must hold, and for how many items at a time. Throws RangeError for a prompt that the model cannot take. */
function sizeOf(
  items: readonly GenerationItem[],
  prompts: readonly EncodedPrompt[],
  variants: readonly Variant[],
  { model: { config }, batch, cacheBytes }: GeneratorOptions,
): { readonly blocks: number; readonly batch: number } {
  let most = 0;
  for (const [i, { tokens, contextTokens }] of prompts.entries()) {
    const { id, maxTokens } = items[i]!;
    const length = tokens.length + maxTokens;
    if (length > config.maxPositions) {
      throw new RangeError(`item ${id} and its output take ${length} tokens, the model has ${config.maxPositions}`);
    }
    const shared = Math.floor(contextTokens / BLOCK_SIZE);
    const own = Math.ceil(length / BLOCK_SIZE) - shared + 1;
    most = Math.max(most, shared + variants.length * own);
  }
  const fit = Math.floor(cacheBytes / bytesPerBlock(config, variants[0]!.layout) / most);
  const fitting = Math.max(1, Math.min(batch, items.length, fit));
  return { blocks: fitting * most + 2, batch: fitting };
}

function requestOf(
  item: GenerationItem,
  { tokens, contextTokens }: EncodedPrompt,
  variant: Variant,
  id: string,
  { model, question }: GeneratorOptions,
): GenerateRequest {
  const { maxTokens, stop } = item;
  return {
    id,
    promptIds: tokens,
    ...(question === "dense" ? {} : { denseTokens: contextTokens }),
    sampling: { maxTokens, temperature: 0, topP: 1, topK: 0, stop, ignoreEos: false },
    attention: settingsOf(variant, tokens.length, model.config),
  };
}

/** The text as far as it counts; `onContext` is called with its first token. */
async function textOf(
  engine: Engine,
  request: GenerateRequest,
  { settled }: GenerationItem,
  signal: AbortSignal,
  onContext?: () => void,
): Promise<string> {
  let text = "";
  let begun = false;
  for await (const event of engine.generate(request, signal)) {
    if (!begun) onContext?.();
    begun = true;
    text += event.text;
    if (settled?.(text)) break;
  }
  return text;
}
