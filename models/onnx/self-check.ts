import { existsSync } from "node:fs";
import { InferenceSession, type Tensor } from "onnxruntime-node";
import { addonPath } from "../../attention/binding.ts";
import { defaultAttention } from "../../attention/defaults.ts";
import { BLOCK_SIZE, openSession } from "../../attention/session.ts";
import { ModelError, messageOf } from "../errors.ts";
import { halfToFloat } from "../half.ts";
import type { ModelConfig } from "../types.ts";
import { decoderFeed, type RunShape } from "./feeds.ts";
import { toNumber, type ValueInfoProto } from "./messages.ts";

/** Enough for two blocks of the cache and a decode step. */
const PROMPT = 70;
/** Largest accepted |difference|, relative to the root mean square of the logits. */
const TOLERANCE = 1e-2;
/**
 * How the original graph rounds its activations, which the prepared one does not: to float16 or bfloat16, to 8 bits, or to 8 bits
 * by the largest of all that are in a run.
 */
export type Rounding = "none" | "narrow" | "8 bits" | "8 bits by run";

/**
 * Largest accepted root mean square of the difference, relative to that of the logits, where the original rounds. Exports of small
 * models were measured to differ by 2e-3 (float16), 2e-2 (MatMulNBits by int8) and 7e-2 (quantize_dynamic); another model by 1.4.
 * One rounding that falls otherwise goes through all layers: SmolLM2 in int4 by onnxruntime-genai differs by up to 4e-2 from itself
 * run in chunks, and by 2e-2 of the root mean square from its own weights with activations in float32.
 */
const ROUNDED_TOLERANCE = { narrow: 5e-2, "8 bits": 0.2, "8 bits by run": 0.3 } as const;

/** A model file, or a model's bytes with the folder in which its external data is. */
export type OriginalGraph = string | { readonly bytes: Uint8Array; readonly folder: string };

/**
 * Runs a prompt through the original graph and through the prepared one, the latter in two chunks and a decode step.
 * @param inputs the original graph's inputs
 * @param rounding how the original rounds activations
 * @returns the largest |difference| of logits; null where the native addon is not built
 * @throws ModelError "unsupported_graph" when the two graphs are not the same model
 */
export async function selfCheck(
  original: OriginalGraph,
  inputs: readonly ValueInfoProto[],
  graphPath: string,
  config: ModelConfig,
  rounding: Rounding = "none",
): Promise<number | null> {
  if (!existsSync(addonPath())) return null;
  const length = Math.min(PROMPT, config.maxPositions);
  const ids = Array.from({ length }, (_, i) => (i * 7919 + 13) % config.vocabSize);
  const expected = await originalLogits(original, inputs, ids, config, rounding === "8 bits by run");
  const all = await preparedLogits(graphPath, ids, config);
  // Some graphs have logits for the last token alone.
  const actual = expected.length === config.vocabSize ? all.subarray(all.length - config.vocabSize) : all;
  let worst = 0;
  let squares = 0;
  let squaredDifferences = 0;
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(expected[i]! - actual[i]!);
    worst = Math.max(worst, difference);
    squaredDifferences += difference ** 2;
    squares += expected[i]! ** 2;
  }
  const scale = Math.sqrt(squares / expected.length);
  const close =
    rounding === "none"
      ? worst <= TOLERANCE * scale
      : Math.sqrt(squaredDifferences / expected.length) <= ROUNDED_TOLERANCE[rounding] * scale;
  if (expected.length === actual.length && close) return worst;
  throw new ModelError(
    "unsupported_graph",
    `the prepared graph is not the same model: its logits differ by up to ${worst} from those of ${typeof original === "string" ? original : `the graph in ${original.folder}`}, ` +
      `whose root mean square is ${scale}`,
  );
}

async function originalLogits(
  original: OriginalGraph,
  inputs: readonly ValueInfoProto[],
  ids: readonly number[],
  config: ModelConfig,
  tokenByToken: boolean,
): Promise<Float32Array> {
  const options = { intraOpNumThreads: 1, logSeverityLevel: 3 } as const;
  const session = await (typeof original === "string"
    ? InferenceSession.create(original, options)
    : InferenceSession.create(original.bytes, {
        ...options,
        extra: { session: { model_external_initializers_file_folder_path: original.folder } },
      })
  ).catch((error: unknown) => {
    const what = `nothing can be compared with the original, which ONNX Runtime does not take: ${messageOf(error)}`;
    throw new ModelError("unsupported_graph", what, { cause: error });
  });
  try {
    return await (tokenByToken || takesOneToken(inputs) ? stepByStep : atOnce)(session, inputs, ids, config);
  } finally {
    await session.release();
  }
}

/** Whether a graph takes one new token a run, not more. */
function takesOneToken(inputs: readonly ValueInfoProto[]): boolean {
  const dim = inputs.find(({ name }) => name === "input_ids")?.type?.tensorType?.shape?.dim[1];
  return dim?.value === "dimValue" && toNumber(dim.dimValue) === 1;
}

async function atOnce(
  session: InferenceSession,
  inputs: readonly ValueInfoProto[],
  ids: readonly number[],
  config: ModelConfig,
): Promise<Float32Array> {
  const feeds = feedsOf(inputs, { tokens: ids.length, past: 0 }, config, ids, (_, size) => new Float32Array(size));
  return asFloats((await session.run(feeds, ["logits"])).logits!);
}

/** Token by token, each behind the keys and values that the one before it has left. */
async function stepByStep(
  session: InferenceSession,
  inputs: readonly ValueInfoProto[],
  ids: readonly number[],
  config: ModelConfig,
): Promise<Float32Array> {
  const logits = new Float32Array(ids.length * config.vocabSize);
  let kept: InferenceSession.ReturnType = {};
  for (const [past, id] of ids.entries()) {
    const feeds = feedsOf(inputs, { tokens: 1, past }, config, [id], (name) => {
      return (kept[name.replace("past_key_values", "present")]?.data ?? new Float32Array(0)) as
        | Float32Array
        | Uint16Array;
    });
    kept = await session.run(feeds);
    logits.set(asFloats(kept.logits!), past * config.vocabSize);
  }
  return logits;
}

function feedsOf(
  inputs: readonly ValueInfoProto[],
  shape: RunShape,
  config: ModelConfig,
  ids: readonly number[],
  cache: (name: string, size: number) => Float32Array | Uint16Array,
): Record<string, Tensor> {
  return Object.fromEntries(inputs.map((value) => [value.name, decoderFeed(value, shape, config, ids, cache)]));
}

function asFloats({ type, data }: Tensor): Float32Array {
  // The newest Node gives float16 as numbers, others as bits.
  if (type === "float16" && data instanceof Uint16Array) return Float32Array.from(data, halfToFloat);
  return data instanceof Float32Array ? data : Float32Array.from(data as unknown as ArrayLike<number>);
}

/** [ids, vocab]: the logits of a prepared graph, dense, from two chunks and a decode step. */
export async function preparedLogits(
  graphPath: string,
  ids: readonly number[],
  config: ModelConfig,
): Promise<Float32Array> {
  const blocks = Math.ceil(ids.length / BLOCK_SIZE);
  const session = await openSession({ graphPath, config, blocks, threads: 1, spinning: false });
  try {
    const logits = new Float32Array(ids.length * config.vocabSize);
    const starts = [0, Math.floor(ids.length / 2), ids.length - 1, ids.length];
    for (const [index, start] of starts.slice(0, -1).entries()) {
      const tokenIds = ids.slice(start, starts[index + 1]);
      if (tokenIds.length === 0) continue;
      const { logits: rows } = await session.step([
        {
          tokenIds,
          contextLength: start,
          blockTable: Array.from({ length: blocks }, (_, block) => block),
          attention: { ...defaultAttention(config), mode: "dense" },
          denseUntil: ids.length,
          logits: "all",
        },
      ]);
      logits.set(rows[0]!, start * config.vocabSize);
    }
    return logits;
  } finally {
    session.close();
  }
}
