import { DataType } from "../onnx/messages.ts";
import type { GraphWriter } from "./graph-writer.ts";
import { type Activations, blockLinear, linear } from "./linear.ts";
import type { BlockMatrix, WeightMatrix } from "./weights.ts";

/**
 * Rows of the table for `ids` [1, T]: [1, T, columns]. The table stays as it is stored: quantised, f16 or f32; only the
 * rows looked up become f32.
 */
export function embedding(graph: GraphWriter, name: string, ids: string, table: WeightMatrix): string {
  const { rows, columns } = table;
  if (table.kind === "blocks") return blockEmbedding(graph, name, ids, table);
  if (!table.halves) {
    return graph.node("Gather", name, [graph.floats(`${name}.table`, [rows, columns], table.values), ids]);
  }
  const halves = graph.constant(`${name}.table`, DataType.FLOAT16, [rows, columns], table.halves);
  const gathered = graph.node("Gather", `${name}.halves`, [halves, ids]);
  return graph.node("Cast", name, [gathered], { attributes: { to: DataType.FLOAT } });
}

function blockEmbedding(graph: GraphWriter, name: string, ids: string, table: BlockMatrix): string {
  const { rows, columns, bits, blockSize, offsets } = table;
  const blocks = columns / blockSize;
  const { quants, scales } = tableNames(name);
  graph.constant(quants, DataType.UINT8, [rows, (columns * bits) / 8], table.quants);
  graph.floats(scales, [rows, blocks], table.scales);
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

/** The constants of a quantised table. */
function tableNames(embeddingName: string): { quants: string; scales: string } {
  return { quants: `${embeddingName}.table`, scales: `${embeddingName}.scales` };
}

/** The output layer of a model whose embedding table, written by `embedding` as `embeddingName`, is its matrix too. */
export function tiedHead(
  graph: GraphWriter,
  name: string,
  input: string,
  embeddingName: string,
  table: WeightMatrix,
  activations: Activations,
): string {
  if (table.kind === "dense") return linear(graph, name, input, table, activations);
  const { rows, columns, bits, blockSize } = table;
  const shared = tableNames(embeddingName);
  // Both operators read the same bytes of the file, only their ideas of the shape differ.
  const quants = graph.alias(`${name}.quants`, [rows, columns / blockSize, (blockSize * bits) / 8], shared.quants);
  return blockLinear(graph, name, input, table, quants, shared.scales, activations);
}
