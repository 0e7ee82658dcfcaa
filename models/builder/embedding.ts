import { DataType } from "../onnx/messages.ts";
import type { GraphWriter } from "./graph-writer.ts";
import { type LinearStyle, linear, planesOf } from "./linear.ts";
import { blockEmbedding, blockLinear, storeBlocks } from "./matmulnbits.ts";
import { qembedding, qlinear, storePacked } from "./qlinear.ts";
import type { DenseMatrix, WeightMatrix } from "./weights.ts";

export interface Embedding {
  /** Rows of the table for the ids [1, T]: [1, T, columns]. */
  readonly output: string;
  /** Writes the output layer of a model whose table is its matrix too: input [1, T, columns] to [1, T, rows]. */
  tiedHead(name: string, input: string): string;
}

/**
 * Looks up the rows of `table` for `ids` [1, T]. The table stays as it is stored: quantised, f16 or f32; only the rows
 * looked up become f32. A quantised one is in the file once, whether or not the output layer reads it too.
 */
export function embedding(
  graph: GraphWriter,
  name: string,
  ids: string,
  table: WeightMatrix,
  style: LinearStyle,
): Embedding {
  if (table.kind === "dense") {
    return {
      output: denseEmbedding(graph, name, ids, table),
      tiedHead: (head, input) => linear(graph, head, input, table, style),
    };
  }
  if (style.linears === "qlinear") {
    const stored = storePacked(graph, `${name}.table`, table);
    return {
      output: qembedding(graph, name, ids, stored),
      tiedHead: (head, input) => qlinear(graph, head, input, stored, planesOf(style)),
    };
  }
  const stored = storeBlocks(graph, name, table);
  return {
    output: blockEmbedding(graph, name, ids, stored),
    tiedHead: (head, input) => blockLinear(graph, head, input, stored, style.activations),
  };
}

function denseEmbedding(graph: GraphWriter, name: string, ids: string, table: DenseMatrix): string {
  const { rows, columns, halves } = table;
  if (!halves) {
    return graph.node("Gather", name, [graph.floats(`${name}.table`, [rows, columns], table.values), ids]);
  }
  const stored = graph.constant(`${name}.table`, DataType.FLOAT16, [rows, columns], halves);
  const gathered = graph.node("Gather", `${name}.halves`, [stored, ids]);
  return graph.node("Cast", name, [gathered], { attributes: { to: DataType.FLOAT } });
}
