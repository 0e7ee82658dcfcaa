/** Quantised matrices by the operators of ours, sparq.QLinear and sparq.QEmbedding (attention/native/qlinear.h). */
import { DataType } from "../onnx/messages.ts";
import type { GraphWriter } from "./graph-writer.ts";
import { type PackedMatrix, packMatrix } from "./pack.ts";
import type { BlockMatrix } from "./weights.ts";

/** int8 values that an activation becomes. */
export type Planes = 1 | 2;

/** A packed matrix in the weights file; any number of nodes may read it. */
export interface StoredMatrix {
  readonly weights: string;
  readonly attributes: PackedMatrix["attributes"];
}

export function storePacked(graph: GraphWriter, name: string, matrix: BlockMatrix): StoredMatrix {
  const { bytes, attributes } = packMatrix(matrix);
  return { weights: graph.constant(name, DataType.UINT8, [bytes.length], bytes), attributes };
}

/** Input [..., columns] to output [..., rows]. `bias` is the name of a constant [rows]. */
export function qlinear(
  graph: GraphWriter,
  name: string,
  input: string,
  { weights, attributes }: StoredMatrix,
  planes: Planes,
  bias?: string,
): string {
  const inputs = bias === undefined ? [input, weights] : [input, weights, bias];
  return graph.node("QLinear", name, inputs, { domain: "sparq", attributes: { ...attributes, planes } });
}

/** Rows of the table for `ids` [...]: [..., columns], f32. */
export function qembedding(
  graph: GraphWriter,
  name: string,
  ids: string,
  { weights, attributes }: StoredMatrix,
): string {
  return graph.node("QEmbedding", name, [ids, weights], { domain: "sparq", attributes });
}
