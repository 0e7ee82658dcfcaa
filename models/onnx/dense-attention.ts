import type { ModelConfig } from "../types.ts";

/** Where one of q, k, v lies in a projection's row: head h, component c is at offset + h * headStride + c. */
export interface Slot {
  readonly offset: number;
  readonly headStride: number;
}

/** A projection's rows, [tokens, width], with the part of each that is q, k or v. */
export interface Rows {
  readonly data: Float32Array;
  readonly width: number;
  readonly slot: Slot;
}

export interface DenseAttentionInput {
  readonly config: ModelConfig;
  /** How many positions back a row sees, itself included; 0: all. */
  readonly window: number;
  /** Whether rope turns components (2i, 2i + 1) instead of (i, i + rotaryDim / 2). */
  readonly interleaved: boolean;
  /** Of products of queries and keys. */
  readonly scale: number;
  /** New tokens; they stand at positions past..past + tokens - 1. */
  readonly tokens: number;
  readonly past: number;
  readonly query: Rows;
  readonly key: Rows;
  readonly value: Rows;
  /** [kvHeads, past, headDim], the keys rotated already; empty when past is 0. */
  readonly pastKeys: Float32Array;
  readonly pastValues: Float32Array;
}

/**
 * What one token's attention should be: rope on queries and keys, causal softmax over all earlier positions or those in the
 * window, grouped KV heads. Plain loops in double precision: this is what exported graphs are measured against.
 * @returns [heads * headDim]
 */
export function denseAttention(input: DenseAttentionInput, row: number): Float64Array {
  const { config, past, pastKeys, pastValues, scale } = input;
  const { heads, kvHeads, headDim } = config;
  const end = past + row + 1;
  const first = input.window > 0 ? Math.max(0, end - input.window) : 0;
  const result = new Float64Array(heads * headDim);
  const logits = new Float64Array(end - first);
  for (let head = 0; head < heads; head++) {
    const kvHead = Math.floor(head / (heads / kvHeads));
    const query = rotate(input, component(input.query, row, head, headDim), past + row);
    for (let position = first; position < past; position++) {
      logits[position - first] = scale * dot(query, pastKeys, (kvHead * past + position) * headDim);
    }
    for (let other = Math.max(0, first - past); other <= row; other++) {
      const key = rotate(input, component(input.key, other, kvHead, headDim), past + other);
      logits[past + other - first] = scale * dot(query, key, 0);
    }
    const total = exponentiate(logits);
    for (let position = first; position < end; position++) {
      const weight = logits[position - first]! / total;
      const values = position < past ? pastValues : component(input.value, position - past, kvHead, headDim);
      const start = position < past ? (kvHead * past + position) * headDim : 0;
      for (let c = 0; c < headDim; c++) result[head * headDim + c]! += weight * values[start + c]!;
    }
  }
  return result;
}

function component(rows: Rows, row: number, head: number, headDim: number): Float32Array {
  const start = row * rows.width + rows.slot.offset + head * rows.slot.headStride;
  return rows.data.subarray(start, start + headDim);
}

/** Rope on the leading components; the angle is rounded to float32 as models do. */
function rotate({ config, interleaved }: DenseAttentionInput, vector: Float32Array, position: number): Float64Array {
  const half = config.rotaryDim / 2;
  const rotated = Float64Array.from(vector);
  for (let i = 0; i < half; i++) {
    const angle = Math.fround(position * config.inverseFrequencies[i]!);
    const cos = Math.cos(angle) * config.ropeScale;
    const sin = Math.sin(angle) * config.ropeScale;
    const [a, b] = interleaved ? [2 * i, 2 * i + 1] : [i, i + half];
    rotated[a] = vector[a]! * cos - vector[b]! * sin;
    rotated[b] = vector[b]! * cos + vector[a]! * sin;
  }
  return rotated;
}

function dot(a: Float64Array, b: Float32Array | Float64Array, start: number): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[start + i]!;
  return sum;
}

/** Replaces logits by their exponentials, shifted by the largest, and returns the sum. */
function exponentiate(logits: Float64Array): number {
  let largest = Number.NEGATIVE_INFINITY;
  for (const logit of logits) largest = Math.max(largest, logit);
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += logits[i] = Math.exp(logits[i]! - largest);
  return sum;
}
