import { Tensor } from "onnxruntime-node";
import type { ModelConfig } from "../types.ts";
import { CACHE_BRANCH } from "./merged.ts";
import { DataType, type ValueInfoProto } from "./messages.ts";

/** How many new tokens a run has, behind how many cached ones. */
export interface RunShape {
  readonly tokens: number;
  readonly past: number;
}

/**
 * What an exported decoder's input gets in a run of one sequence without padding: ids as given, a mask of ones, the
 * positions past..past + tokens - 1, and cached keys or values from `cache` ([kvHeads, past, headDim]);
 * a float16 cache gets its bits, or zeros.
 */
export function decoderFeed(
  value: ValueInfoProto,
  { tokens, past }: RunShape,
  config: Pick<ModelConfig, "kvHeads" | "headDim">,
  ids: readonly number[],
  cache: (name: string, size: number) => Float32Array | Uint16Array,
): Tensor {
  const { elemType, shape } = value.type!.tensorType!;
  const rank = shape!.dim.length;
  if (rank === 4) {
    const dims = [1, config.kvHeads, past, config.headDim];
    const values = cache(value.name, config.kvHeads * past * config.headDim);
    if (elemType === DataType.FLOAT16) {
      return new Tensor("float16", values instanceof Uint16Array ? values : new Uint16Array(values.length), dims);
    }
    return new Tensor("float32", values as Float32Array, dims);
  }
  if (value.name === CACHE_BRANCH) return new Tensor("bool", Uint8Array.of(past > 0 ? 1 : 0), [1]);
  if (value.name === "input_ids") return integers(elemType, ids, rank);
  if (value.name === "attention_mask") return integers(elemType, new Array(past + tokens).fill(1), rank);
  const positions = Array.from({ length: tokens }, (_, i) => past + i);
  return integers(elemType, positions, rank);
}

function integers(elemType: number, values: readonly number[], rank: number): Tensor {
  const dims = rank === 2 ? [1, values.length] : [values.length];
  switch (elemType) {
    case DataType.INT64:
      return new Tensor("int64", BigInt64Array.from(values, BigInt), dims);
    case DataType.INT32:
      return new Tensor("int32", Int32Array.from(values), dims);
    case DataType.BOOL:
      return new Tensor("bool", Uint8Array.from(values), dims);
    default:
      return new Tensor("float32", Float32Array.from(values), dims);
  }
}
