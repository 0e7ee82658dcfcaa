/**
 * Quantised matrices by ONNX Runtime's own operators, MatMulNBits and GatherBlockQuantized. Both imply the middle of the
 * range as every block's zero, and MatMulNBits is fast with integer zero points only, so offsets meet the sum of each
 * block's inputs instead, in float32.
 */
import { DataType } from "../onnx/messages.ts";
import type { GraphWriter } from "./graph-writer.ts";
import type { Activations } from "./style.ts";
import { type BlockMatrix, transpose } from "./weights.ts";

/**
 * int8 products summed in int32. Of MatMulNBits' ways the only one that is fast for 8 bits as for 4, and bitwise the same
 * for one row as for many.
 */
const INT8_ACCURACY = 4;

/** The constants of a matrix: quants [rows, columns * bits / 8] and scales [rows, blocks]. */
export interface StoredBlocks {
  /** As the operators see it, see `centred`. */
  readonly matrix: BlockMatrix;
  readonly quants: string;
  readonly scales: string;
}

export function storeBlocks(graph: GraphWriter, name: string, of: BlockMatrix): StoredBlocks {
  const matrix = centred(of);
  const { rows, columns, bits, blockSize, quants, scales } = matrix;
  return {
    matrix,
    quants: graph.constant(`${name}.quants`, DataType.UINT8, [rows, (columns * bits) / 8], quants),
    scales: graph.floats(`${name}.scales`, [rows, columns / blockSize], scales),
  };
}

/**
 * The same matrix with 2^(bits - 1) as its zero whether or not there are offsets. The zero is put into the middle of the
 * values that occur: an offset far from it would leave little of a block's sum.
 */
function centred(matrix: BlockMatrix): BlockMatrix {
  const { bits, quants, scales, offsets } = matrix;
  if (!offsets) return matrix;
  const zero = 2 ** (bits - 1);
  const middle = bits === 8 ? Math.ceil(quants.reduce((most, q) => Math.max(most, q), 0) / 2) : zero;
  return {
    ...matrix,
    quants: middle === zero ? quants : quants.map((q) => q + zero - middle),
    offsets: offsets.map((offset, block) => offset + scales[block]! * middle),
  };
}

/** One linear layer without bias: input [1, T, columns] to [1, T, rows]. */
export function blockLinear(
  graph: GraphWriter,
  name: string,
  input: string,
  { matrix, quants, scales }: StoredBlocks,
  activations: Activations,
): string {
  const { rows, columns, bits, blockSize } = matrix;
  const blocks = columns / blockSize;
  // The same bytes of the file in the operator's idea of their shape.
  const blocked = graph.alias(`${name}.weight`, [rows, blocks, (blockSize * bits) / 8], quants);
  const product = (of: string, output: string) =>
    graph.node("MatMulNBits", output, [of, blocked, scales], {
      domain: "com.microsoft",
      attributes: { K: columns, N: rows, bits, block_size: blockSize, accuracy_level: INT8_ACCURACY },
    });
  const offsets =
    matrix.offsets && graph.floats(`${name}.offsets`, [blocks, rows], transpose(matrix.offsets, rows, blocks));
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
  const blockedInput = graph.node("Reshape", `${name}.blocked`, [input, shape]);
  const axes = graph.integers(`${name}.sums.axes`, [3]);
  const sums = graph.node("ReduceSum", `${name}.sums`, [blockedInput, axes], { attributes: { keepdims: 0 } });
  const correction = graph.node("MatMul", `${name}.correction`, [sums, offsets]);
  return graph.node("Add", name, [product(input, `${name}.products`), correction]);
}

/** Rows of the table for `ids` [1, T]: [1, T, columns]. */
export function blockEmbedding(
  graph: GraphWriter,
  name: string,
  ids: string,
  { matrix, quants, scales }: StoredBlocks,
): string {
  const { rows, columns, bits, blockSize, offsets } = matrix;
  const blocks = columns / blockSize;
  const symmetric = graph.node("GatherBlockQuantized", offsets ? `${name}.symmetric` : name, [quants, ids, scales], {
    domain: "com.microsoft",
    attributes: { bits, block_size: blockSize, gather_axis: 0, quantize_axis: 1 },
  });
  if (!offsets) return symmetric;
  const offsetTable = graph.floats(`${name}.offset_table`, [rows, blocks, 1], offsets);
  const blockOffsets = graph.node("Gather", `${name}.offsets`, [offsetTable, ids]);
  const blockedShape = graph.integers(`${name}.blocked.shape`, [1, -1, blocks, blockSize]);
  const blocked = graph.node("Reshape", `${name}.blocked`, [symmetric, blockedShape]);
  const shifted = graph.node("Add", `${name}.shifted`, [blocked, blockOffsets]);
  return graph.node("Reshape", name, [shifted, graph.integers(`${name}.shape`, [1, -1, columns])]);
}
