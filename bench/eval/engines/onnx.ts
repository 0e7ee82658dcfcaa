import { extname } from "node:path";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { defaultThreads } from "../../../attention/threads.ts";
import type { ModelConfig, PreparedModel } from "../../../models/types.ts";
import type { Tokenizer } from "../../../server/engine/types.ts";
import { distributionsOf } from "../../accuracy/cache/tally.ts";
import type { Distribution } from "../../accuracy/divergence.ts";
import type { GenerationItem, ScoringItem, TextCost } from "../types.ts";
import { VariantError } from "../variant-fields.ts";
import { encodePrompt, type PromptStyle } from "./prompts.ts";
import { costOf, type Passage, passageOf } from "./scorer.ts";

/** Rows of a run at most: logits of all of them come back. */
const CHUNK = 256;

/** Keys and values so far by the name of the input that takes them, or all tokens for a graph without such inputs. */
interface State {
  readonly tokens: readonly number[];
  readonly past: ReadonlyMap<string, Tensor>;
}

/**
 * The ONNX model as it was found, run by onnxruntime-node: no rewritten graph, no cache, no kernel of ours. One sequence at a
 * time.
 */
export class OnnxDecoder {
  private readonly session: InferenceSession;
  private readonly config: ModelConfig;

  private constructor(session: InferenceSession, config: ModelConfig) {
    this.session = session;
    this.config = config;
  }

  /** Throws VariantError for a model that did not come as ONNX. */
  static async open({ source, config, name }: PreparedModel, threads: number): Promise<OnnxDecoder> {
    if (extname(source) !== ".onnx")
      throw new VariantError(`variant onnx: ${name} did not come as ONNX but as ${source}`);
    return new OnnxDecoder(
      await InferenceSession.create(source, { intraOpNumThreads: threads, logSeverityLevel: 3 }),
      config,
    );
  }

  /** Runs tokens after those of `state`; logits of the last `rows` of them, [rows, vocabSize]. */
  async run(tokens: readonly number[], state: State, rows: number): Promise<{ logits: Float32Array; state: State }> {
    const { vocabSize } = this.config;
    const logits = new Float32Array(rows * vocabSize);
    // A graph that takes no keys and values has to see all at once.
    const chunk = this.takesPast ? CHUNK : tokens.length;
    let current = state;
    for (let start = 0; start < tokens.length; start += chunk) {
      const part = tokens.slice(start, start + chunk);
      const output = await this.runOnce(part, current);
      const given = output.logits.subarray(output.logits.length - part.length * vocabSize);
      const skipped = Math.max(0, tokens.length - rows - start);
      if (skipped < part.length) {
        logits.set(given.subarray(skipped * vocabSize), (start + skipped - (tokens.length - rows)) * vocabSize);
      }
      current = output.state;
    }
    return { logits, state: current };
  }

  close(): Promise<void> {
    return this.session.release();
  }

  private get takesPast(): boolean {
    return this.session.inputNames.some((name) => name.startsWith("past_key_values."));
  }

  private async runOnce(
    part: readonly number[],
    { tokens, past }: State,
  ): Promise<{ logits: Float32Array; state: State }> {
    const ids = this.takesPast ? part : [...tokens, ...part];
    const before = this.takesPast ? tokens.length : 0;
    const feeds = Object.fromEntries(this.session.inputNames.map((name) => [name, this.feed(name, ids, before, past)]));
    const results = await this.session.run(feeds);
    const presents = this.session.inputNames.flatMap((name) => {
      const present = results[name.replace("past_key_values", "present")];
      return present === undefined ? [] : [[name, present as Tensor] as const];
    });
    return {
      logits: results.logits!.data as Float32Array,
      state: { tokens: [...tokens, ...part], past: new Map(presents) },
    };
  }

  private feed(name: string, ids: readonly number[], before: number, past: ReadonlyMap<string, Tensor>): Tensor {
    const { kvHeads, headDim } = this.config;
    const int64 = (values: readonly number[]) =>
      new Tensor("int64", BigInt64Array.from(values, BigInt), [1, values.length]);
    if (name === "input_ids") return int64(ids);
    if (name === "attention_mask") return int64(new Array(before + ids.length).fill(1));
    if (name === "position_ids") return int64(ids.map((_, i) => before + i));
    return past.get(name) ?? new Tensor("float32", new Float32Array(0), [1, kvHeads, 0, headDim]);
  }
}

const EMPTY: State = { tokens: [], past: new Map() };

export interface OnnxOptions {
  readonly tokenizer: Tokenizer;
  readonly config: ModelConfig;
  readonly prompts: PromptStyle;
  readonly signal: AbortSignal;
}

/** The item's text, greedily. */
export async function generateOnnx(
  decoder: OnnxDecoder,
  { context, question, maxTokens, stop, settled }: GenerationItem,
  { tokenizer, config, prompts, signal }: OnnxOptions,
): Promise<string> {
  const ends = new Set([...config.eosTokenIds, ...tokenizer.eosTokenIds]);
  let { logits, state } = await decoder.run(encodePrompt(tokenizer, context, question, prompts).tokens, EMPTY, 1);
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
  const decoder = await OnnxDecoder.open(options.model, options.threads ?? defaultThreads());
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
  decoder: OnnxDecoder,
  { tokens, next }: Pick<Passage, "tokens" | "next">,
  vocabSize: number,
): Promise<Distribution[]> {
  const { logits } = await decoder.run(tokens, EMPTY, next.length);
  return distributionsOf(logits, vocabSize);
}

export async function scoreOnnx(
  decoder: OnnxDecoder,
  item: ScoringItem,
  { tokenizer, config, signal }: OnnxOptions,
): Promise<TextCost> {
  signal.throwIfAborted();
  const passage = passageOf(tokenizer, item);
  const rows = await predictOnnx(decoder, passage, config.vocabSize);
  return costOf(rows, passage);
}
