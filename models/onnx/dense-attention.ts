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
 * What one token's attention should be: rope on queries and keys, causal softmax over all earlier positions, grouped KV
 * heads. Plain loops in double precision: this is what exported graphs are measured against.
 * @returns [heads * headDim]
 */
export function denseAttention(input: DenseAttentionInput, row: number): Float64Array {
  const { config, past, pastKeys, pastValues } = input;
  const { heads, kvHeads, headDim } = config;
  const scale = 1 / Math.sqrt(headDim);
  const visible = past + row + 1;
  const result = new Float64Array(heads * headDim);
  const logits = new Float64Array(visible);
  for (let head = 0; head < heads; head++) {
    const kvHead = Math.floor(head / (heads / kvHeads));
    const query = rotate(config, component(input.query, row, head, headDim), past + row);
    for (let position = 0; position < past; position++) {
      logits[position] = scale * dot(query, pastKeys, (kvHead * past + position) * headDim);
    }
    for (let other = 0; other <= row; other++) {
      const key = rotate(config, component(input.key, other, kvHead, headDim), past + other);
      logits[past + other] = scale * dot(query, key, 0);
    }
    const total = exponentiate(logits);
    for (let position = 0; position < visible; position++) {
      const weight = logits[position]! / total;
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

/** Rope on the leading components, in pairs (i, i + rotaryDim / 2); the angle is rounded to float32 as models do. */
function rotate(config: ModelConfig, vector: Float32Array, position: number): Float64Array {
  const half = config.rotaryDim / 2;
  const rotated = Float64Array.from(vector);
  for (let i = 0; i < half; i++) {
    const angle = Math.fround(position * config.inverseFrequencies[i]!);
    const cos = Math.cos(angle) * config.ropeScale;
    const sin = Math.sin(angle) * config.ropeScale;
    rotated[i] = vector[i]! * cos - vector[i + half]! * sin;
    rotated[i + half] = vector[i + half]! * cos + vector[i]! * sin;
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
