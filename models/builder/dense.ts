/** Matrices of plain floats by the operators of ours, sparq.DenseLinear and sparq.DenseEmbedding (attention/native/dense_linear.h). */
import { statSync } from "node:fs";
import { resolve } from "node:path";
import type { AttributeValue } from "../onnx/build.ts";
import { DataType } from "../onnx/messages.ts";
import type { GraphWriter } from "./graph-writer.ts";
import type { LinearStyle } from "./style.ts";
import type { DenseMatrix, DenseType, Piece } from "./weights.ts";

/** As attention/native/elements.h numbers them. */
const typeNumbers: Readonly<Record<DenseType, number>> = { f32: 0, f16: 1, bf16: 2 };
const typeBytes: Readonly<Record<DenseType, number>> = { f32: 4, f16: 2, bf16: 2 };

/** A matrix that nodes can read, any number of them. */
export interface StoredDense {
  /** The constant; absent where the attributes say in which file the matrix is. */
  readonly weights?: string;
  readonly attributes: Readonly<Record<string, AttributeValue>>;
}

/**
 * Says where a matrix is in the model's own file, for the operators to map it there. A matrix in several files, or whose rows are in another
 * order there, goes to the weights file, as does every one with `style.weights` "copied".
 */
export function storeDense(graph: GraphWriter, name: string, matrix: DenseMatrix, style: LinearStyle): StoredDense {
  const { rows, columns, dtype, pieces } = matrix;
  const attributes = { K: columns, N: rows, dtype: typeNumbers[dtype] };
  const path = pieces?.[0]?.path;
  if (style.weights === "mapped" && pieces && path !== undefined && pieces.every((piece) => piece.path === path)) {
    graph.countMapped(rows * columns * typeBytes[dtype]);
    return { attributes: { ...attributes, ...placeOf(path, pieces) } };
  }
  const bytes = matrix.read();
  return { weights: graph.constant(name, DataType.UINT8, [bytes.length], bytes), attributes };
}

function placeOf(path: string, pieces: readonly Piece[]): Readonly<Record<string, AttributeValue>> {
  const { size, mtimeNs } = statSync(path, { bigint: true });
  return {
    file: resolve(path),
    file_bytes: Number(size),
    // More digits than a number has.
    file_modified: String(mtimeNs),
    offsets: pieces.map(({ offset }) => offset),
    outputs: pieces.map(({ rows }) => rows),
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
  const optional = bias === undefined ? [weights] : [weights ?? "", bias];
  const inputs = [input, ...optional.filter((value) => value !== undefined)];
  return graph.node("DenseLinear", name, inputs, { domain: "sparq", attributes });
}

/** Rows of the table for `ids` [...]: [..., columns], f32. */
export function denseEmbedding(graph: GraphWriter, name: string, ids: string, table: StoredDense): string {
  const { weights, attributes } = table;
  const inputs = weights === undefined ? [ids] : [ids, weights];
  return graph.node("DenseEmbedding", name, inputs, { domain: "sparq", attributes });
}
