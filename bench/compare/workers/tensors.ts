import { Tensor } from "onnxruntime-node";

/** Keys or values so far, [batch, KV heads, positions, head size]. */
export type Past = ReadonlyMap<string, Tensor>;

/** The first sequence's, for `batch` sequences. */
export function forBatch(past: Past, batch: number): Map<string, Tensor> {
  return mapTensors(past, (data, [, ...dims]) => {
    const repeated = new Float32Array(batch * data.length);
    for (let i = 0; i < batch; i++) repeated.set(data, i * data.length);
    return new Tensor("float32", repeated, [batch, ...dims]);
  });
}

/** One sequence's, repeated until there are `positions`. */
export function repeatedTo(past: Past, positions: number): Map<string, Tensor> {
  return mapTensors(past, (data, [batch, heads, given, headDim]) => {
    const repeated = new Float32Array(heads! * positions * headDim!);
    for (let head = 0; head < heads!; head++) {
      const own = data.subarray(head * given! * headDim!, (head + 1) * given! * headDim!);
      for (let start = 0; start < positions; start += given!) {
        const part = own.subarray(0, Math.min(given!, positions - start) * headDim!);
        repeated.set(part, (head * positions + start) * headDim!);
      }
    }
    return new Tensor("float32", repeated, [batch!, heads!, positions, headDim!]);
  });
}

export function int64(values: readonly number[], rows: number): Tensor {
  return new Tensor("int64", BigInt64Array.from(values, BigInt), [rows, values.length / rows]);
}

function mapTensors(past: Past, change: (data: Float32Array, dims: readonly number[]) => Tensor): Map<string, Tensor> {
  return new Map([...past].map(([name, { data, dims }]) => [name, change(data as Float32Array, dims)]));
}
