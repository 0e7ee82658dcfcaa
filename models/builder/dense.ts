/** Matrices of plain floats by the operators of ours, sparq.DenseLinear and sparq.DenseEmbedding (attention/native/dense_linear.h). */
import { DataType } from "../onnx/messages.ts";
import type { GraphWriter } from "./graph-writer.ts";
import type { DenseMatrix, DenseType } from "./weights.ts";

/** As attention/native/elements.h numbers them. */
const typeNumbers: Readonly<Record<DenseType, number>> = { f32: 0, f16: 1, bf16: 2 };

/** A matrix in the weights file, as it is; any number of nodes may read it. */
export interface StoredDense {
  readonly weights: string;
  readonly attributes: { readonly K: number; readonly N: number; readonly dtype: number };
}

export function storeDense(
  graph: GraphWriter,
  name: string,
  { rows, columns, dtype, bytes }: DenseMatrix,
): StoredDense {
  return {
    weights: graph.constant(name, DataType.UINT8, [bytes.length], bytes),
    attributes: { K: columns, N: rows, dtype: typeNumbers[dtype] },
  };
}

/** Input [..., columns] to output [..., rows]. `bias` is the name of a constant [rows]. */
export function denseLinear(
  graph: GraphWriter,
  name: string,
  input: string,
  { weights, attributes }: StoredDense,
  bias?: string,
): string {
  const inputs = bias === undefined ? [input, weights] : [input, weights, bias];
  return graph.node("DenseLinear", name, inputs, { domain: "sparq", attributes });
}

/** Rows of the table for `ids` [...]: [..., columns], f32. */
export function denseEmbedding(graph: GraphWriter, name: string, ids: string, table: StoredDense): string {
  const { weights, attributes } = table;
  return graph.node("DenseEmbedding", name, [ids, weights], { domain: "sparq", attributes });
}
