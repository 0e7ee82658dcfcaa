import { denseLinear, storeDense } from "./dense.ts";
import type { GraphWriter } from "./graph-writer.ts";
import { blockLinear, storeBlocks } from "./matmulnbits.ts";
import { qlinear, storePacked } from "./qlinear.ts";
import type { LinearStyle } from "./style.ts";
import { stackRows, type WeightMatrix } from "./weights.ts";

/**
 * Linear layers over one input [1, T, columns], their outputs side by side: one matrix product when they are stored alike.
 * Returns the name of the output [1, T, sum of rows].
 */
export function fusedLinear(
  graph: GraphWriter,
  name: string,
  input: string,
  matrices: readonly WeightMatrix[],
  style: LinearStyle,
  bias?: Float32Array,
): string {
  const stacked = stackRows(matrices);
  if (stacked) return linear(graph, name, input, stacked, style, bias);
  let start = 0;
  const parts = matrices.map((matrix, i) => {
    const part = bias?.subarray(start, start + matrix.rows);
    start += matrix.rows;
    return linear(graph, `${name}.${i}`, input, matrix, style, part);
  });
  return graph.node("Concat", name, parts, { attributes: { axis: -1 } });
}

/** One linear layer: input [1, T, columns] to [1, T, rows]. */
export function linear(
  graph: GraphWriter,
  name: string,
  input: string,
  matrix: WeightMatrix,
  style: LinearStyle,
  bias?: Float32Array,
): string {
  const biasName = bias && graph.floats(`${name}.bias`, [bias.length], bias);
  if (matrix.kind === "blocks" && style.linears === "qlinear") {
    const stored = storePacked(graph, `${name}.weight`, matrix);
    return qlinear(graph, name, input, stored, planesOf(style), biasName);
  }
  if (matrix.kind === "dense") {
    return denseLinear(graph, name, input, storeDense(graph, `${name}.weight`, matrix, style), biasName);
  }
  const product = biasName === undefined ? name : `${name}.product`;
  blockLinear(graph, product, input, storeBlocks(graph, product, matrix), style.activations);
  return biasName === undefined ? product : graph.node("Add", name, [product, biasName]);
}

export function planesOf({ activations }: LinearStyle): 1 | 2 {
  return activations === "int8x2" ? 2 : 1;
}
