import { DataType } from "../onnx/messages.ts";
import type { GraphWriter } from "./graph-writer.ts";
import { type BlockMatrix, stackRows, transpose, type WeightMatrix } from "./weights.ts";

/**
 * How the inputs of quantised linears are rounded. "int8x2": each value to two int8, about 15 bits, which keeps the logits
 * of the dequantised model to about 1e-3. "int8": to one int8, up to twice as fast, at a loss. README.md beside this file
 * has the measurements.
 */
export type Activations = "int8x2" | "int8";
export const activationKinds: readonly Activations[] = ["int8x2", "int8"];

/**
 * int8 products summed in int32. Of MatMulNBits' ways the only one that is fast for 8 bits as for 4, and bitwise the same
 * for one row as for many.
 */
const INT8_ACCURACY = 4;

/**
 * Linear layers over one input [1, T, columns], their outputs side by side: one matrix product when they are stored alike.
 * Returns the name of the output [1, T, sum of rows].
 */
export function fusedLinear(
  graph: GraphWriter,
  name: string,
  input: string,
  matrices: readonly WeightMatrix[],
  activations: Activations,
): string {
  const stacked = stackRows(matrices);
  if (stacked) return linear(graph, name, input, stacked, activations);
  const parts = matrices.map((matrix, i) => linear(graph, `${name}.${i}`, input, matrix, activations));
  return graph.node("Concat", name, parts, { attributes: { axis: -1 } });
}

/** One linear layer without bias: input [1, T, columns] to [1, T, rows]. */
export function linear(
  graph: GraphWriter,
  name: string,
  input: string,
  matrix: WeightMatrix,
  activations: Activations,
): string {
  const { rows, columns } = matrix;
  if (matrix.kind === "dense") {
    const weight = graph.floats(`${name}.weight`, [columns, rows], transpose(matrix.values, rows, columns));
    return graph.node("MatMul", name, [input, weight]);
  }
  const blocks = columns / matrix.blockSize;
  const shape = [rows, blocks, (matrix.blockSize * matrix.bits) / 8];
  const quants = graph.constant(`${name}.quants`, DataType.UINT8, shape, matrix.quants);
  const scales = graph.floats(`${name}.scales`, [rows, blocks], matrix.scales);
  return blockLinear(graph, name, input, matrix, quants, scales, activations);
}

/**
 * A linear layer whose quants [rows, blocks, bytes of a block] and scales [rows, blocks] are in the graph already.
 * MatMulNBits is fast with integer zero points only, so offsets meet the sum of each block's inputs instead, in float32.
 */
export function blockLinear(
  graph: GraphWriter,
  name: string,
  input: string,
  matrix: BlockMatrix,
  quants: string,
  scales: string,
  activations: Activations,
): string {
  const { rows, columns, bits, blockSize } = matrix;
  const blocks = columns / blockSize;
  const product = (of: string, output: string) =>
    graph.node("MatMulNBits", output, [of, quants, scales], {
      domain: "com.microsoft",
      attributes: { K: columns, N: rows, bits, block_size: blockSize, accuracy_level: INT8_ACCURACY },
    });
  const offsets = matrix.offsets
    ? graph.floats(`${name}.offsets`, [blocks, rows], transpose(matrix.offsets, rows, blocks))
    : undefined;
  if (activations === "int8x2") {
    const [halves, sums] = [`${name}.halves`, `${name}.sums`];
    graph.multi("SplitActivations", `${name}.split`, [input], [halves, sums], {
      domain: "sparq",
      attributes: { block_size: blockSize },
    });
    const products = product(halves, `${name}.products`);
    return graph.node("JoinProducts", name, offsets ? [products, sums, offsets] : [products], { domain: "sparq" });
  }
  if (offsets === undefined) return product(input, name);
  const shape = graph.integers(`${name}.blocked.shape`, [1, -1, blocks, blockSize]);
  const blocked = graph.node("Reshape", `${name}.blocked`, [input, shape]);
  const axes = graph.integers(`${name}.sums.axes`, [3]);
  const sums = graph.node("ReduceSum", `${name}.sums`, [blocked, axes], { attributes: { keepdims: 0 } });
  const correction = graph.node("MatMul", `${name}.correction`, [sums, offsets]);
  return graph.node("Add", name, [product(input, `${name}.products`), correction]);
}
