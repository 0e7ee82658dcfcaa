import { denseEmbedding, denseLinear, storeDense } from "./dense.ts";
import type { GraphWriter } from "./graph-writer.ts";
import { planesOf } from "./linear.ts";
import { blockEmbedding, blockLinear, storeBlocks } from "./matmulnbits.ts";
import { qembedding, qlinear, storePacked } from "./qlinear.ts";
import type { LinearStyle } from "./style.ts";
import type { WeightMatrix } from "./weights.ts";

export interface Embedding {
  /** Rows of the table for the ids [1, T]: [1, T, columns]. */
  readonly output: string;
  /** Writes the output layer of a model whose table is its matrix too: input [1, T, columns] to [1, T, rows]. */
  tiedHead(name: string, input: string): string;
}

/**
 * Looks up the rows of `table` for `ids` [1, T]. The table stays as it is stored, and only the rows looked up become f32.
 * It is kept once, whether or not the output layer reads it too.
 */
export function embedding(
  graph: GraphWriter,
  name: string,
  ids: string,
  table: WeightMatrix,
  style: LinearStyle,
): Embedding {
  if (table.kind === "dense") {
    const stored = storeDense(graph, `${name}.table`, table, style);
    return {
      output: denseEmbedding(graph, name, ids, stored),
      tiedHead: (head, input) => denseLinear(graph, head, input, stored),
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
