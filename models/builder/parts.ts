import type { Architecture } from "../architectures/types.ts";
import type { ModelConfig } from "../types.ts";
import type { GraphWriter } from "./graph-writer.ts";
import type { LinearStyle } from "./style.ts";
import type { WeightMatrix, WeightSource } from "./weights.ts";

/** What a decoder is written with. */
export interface Parts {
  readonly graph: GraphWriter;
  readonly config: ModelConfig;
  readonly architecture: Architecture;
  readonly weights: WeightSource;
  readonly style: LinearStyle;
}

/** A linear layer's matrix, and its bias if the configuration (or the file, where that says nothing) gives it one. */
export interface LayerWeights {
  readonly matrix: WeightMatrix;
  readonly bias?: Float32Array;
}

/** @param name the layer's linear, as in `Architecture.names`; `source` is the layer's prefix */
export function layerWeights(
  { config, weights }: Parts,
  source: string,
  name: string,
  rows: number,
  columns: number,
): LayerWeights {
  const matrix = weights.matrix(`${source}.${name}.weight`, rows, columns);
  const bias = `${source}.${name}.bias`;
  const hasBias = config.biases ? config.biases.includes(name) : weights.has(bias);
  return hasBias ? { matrix, bias: weights.vector(bias, rows) } : { matrix };
}

/** The biases of linears side by side, zeros where one has none; undefined if none has one. */
export function joinedBias(layers: readonly LayerWeights[]): Float32Array | undefined {
  if (layers.every(({ bias }) => bias === undefined)) return undefined;
  return Float32Array.from(layers.flatMap(({ matrix, bias }) => Array.from(bias ?? new Float32Array(matrix.rows))));
}
