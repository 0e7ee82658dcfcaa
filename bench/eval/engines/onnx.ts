import { extname } from "node:path";
import { OnnxDecoder, type Past } from "../../../attention/onnx/decoder.ts";
import { readSignature } from "../../../attention/onnx/signature.ts";
import { defaultThreads } from "../../../attention/threads.ts";
import type { ModelConfig, PreparedModel } from "../../../models/types.ts";
import type { Tokenizer } from "../../../server/engine/types.ts";
import { distributionsOf } from "../../accuracy/cache/tally.ts";
import type { Distribution } from "../../accuracy/divergence.ts";
import type { GenerationItem, ScoringItem, TextCost } from "../types.ts";
import { VariantError } from "../variant-fields.ts";
import { encodePrompt, type PromptStyle } from "./prompts.ts";
import { costOf, type Passage, passageOf } from "./scorer.ts";

/** Keys and values so far, or all tokens for a graph without such inputs. */
interface State {
  readonly tokens: readonly number[];
  readonly past: Past;
}

/**
 * The ONNX model as it was found, run by onnxruntime-node: no rewritten graph, no cache, no kernel of ours. One sequence at a
 * time.
 */
export class OnnxModel {
  /** What a text begins with. */
  readonly empty: State;
  private readonly decoder: OnnxDecoder;
  private readonly cached: boolean;

  private constructor(decoder: OnnxDecoder, cached: boolean) {
    this.decoder = decoder;
    this.cached = cached;
    this.empty = { tokens: [], past: decoder.noPast() };
  }

  /** Throws VariantError for a model that did not come as ONNX, ModelError for one that is no decoder as config.json has it. */
  static async open({ source, config, name }: PreparedModel, threads: number): Promise<OnnxModel> {
    if (extname(source) !== ".onnx")
      throw new VariantError(`variant onnx: ${name} did not come as ONNX but as ${source}`);
    const decoder = await OnnxDecoder.open(source, threads);
    try {
      const signature = readSignature(source, decoder.inputs, decoder.outputs, { ...config, certain: true });
      await decoder.adopt(signature);
      return new OnnxModel(decoder, signature.slots.length > 0);
    } catch (error) {
      await decoder.close();
      throw error;
    }
  }

  /** Runs tokens after those of `state`; logits of the last `rows` of them, [rows, vocabSize]. */
  async run(tokens: readonly number[], state: State, rows: number): Promise<{ logits: Float32Array; state: State }> {
    const all = [...state.tokens, ...tokens];
    // A graph that takes no keys and values has to see all at once.
    const ids = Int32Array.from(this.cached ? tokens : all);
    const { logits, past } = await this.decoder.run(ids, state.past, rows);
    return { logits, state: { tokens: all, past } };
  }

  close(): Promise<void> {
    return this.decoder.close();
  }
}

export interface OnnxOptions {
  readonly tokenizer: Tokenizer;
  readonly config: ModelConfig;
  readonly prompts: PromptStyle;
  readonly signal: AbortSignal;
}

/** The item's text, greedily. */
export async function generateOnnx(
  decoder: OnnxModel,
  { context, question, maxTokens, stop, settled }: GenerationItem,
  { tokenizer, config, prompts, signal }: OnnxOptions,
): Promise<string> {
  const ends = new Set([...config.eosTokenIds, ...tokenizer.eosTokenIds]);
  let { logits, state } = await decoder.run(
    encodePrompt(tokenizer, context, question, prompts).tokens,
    decoder.empty,
    1,
  );
  const generated: number[] = [];
  while (generated.length < maxTokens) {
    signal.throwIfAborted();
    const [{ top }] = distributionsOf(logits, config.vocabSize) as [Distribution];
    if (ends.has(top)) break;
    generated.push(top);
    const text = tokenizer.decode(generated);
    if (settled?.(text) || stop.some((end) => text.includes(end))) break;
    ({ logits, state } = await decoder.run([top], state, 1));
  }
  const text = tokenizer.decode(generated);
  const end = Math.min(...stop.map((word) => text.indexOf(word)).filter((place) => place >= 0), text.length);
  return text.slice(0, end);
}

/** Each item's text, one after the other. */
export async function generateOnnxTexts(
  items: readonly GenerationItem[],
  options: Omit<OnnxOptions, "config"> & { readonly model: PreparedModel; readonly threads?: number },
): Promise<string[]> {
  const decoder = await OnnxModel.open(options.model, options.threads ?? defaultThreads());
  try {
    const texts: string[] = [];
    for (const item of items)
      texts.push(await generateOnnx(decoder, item, { ...options, config: options.model.config }));
    return texts;
  } finally {
    await decoder.close();
  }
}

/** What the model makes of each of the passage's rows that are predicted from. */
export async function predictOnnx(
  decoder: OnnxModel,
  { tokens, next }: Pick<Passage, "tokens" | "next">,
  vocabSize: number,
): Promise<Distribution[]> {
  const { logits } = await decoder.run(tokens, decoder.empty, next.length);
  return distributionsOf(logits, vocabSize);
}

export async function scoreOnnx(
  decoder: OnnxModel,
  item: ScoringItem,
  { tokenizer, config, signal }: OnnxOptions,
): Promise<TextCost> {
  signal.throwIfAborted();
  const passage = passageOf(tokenizer, item);
  const rows = await predictOnnx(decoder, passage, config.vocabSize);
  return costOf(rows, passage);
}
