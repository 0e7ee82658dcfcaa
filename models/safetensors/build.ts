import { architectureOf } from "../architectures/index.ts";
import { buildGraph } from "../builder/build.ts";
import type { LinearStyle } from "../builder/style.ts";
import type { WeightSource } from "../builder/weights.ts";
import type { ImportReport, LoadModelOptions, ModelConfig } from "../types.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { Quantisation, Quantiser } from "./quantise.ts";
import { checkpointWeights } from "./weights.ts";

type OnProgress = NonNullable<LoadModelOptions["onProgress"]>;

/** What the matrices become, and what makes it of them. */
export interface CheckpointQuantisation {
  readonly kind: Quantisation;
  readonly quantiser: Quantiser;
}

/** A graph in the empty folder `target`, of the weights as they are or quantised. */
export async function buildCheckpointGraph(
  checkpoint: Checkpoint,
  config: ModelConfig,
  target: string,
  style: LinearStyle,
  onProgress: OnProgress,
  quantisation?: CheckpointQuantisation,
): Promise<ImportReport> {
  const weights = checkpointWeights(checkpoint);
  const quantize = quantisation?.kind;
  const source = quantisation ? quantisedWeights(weights, config, quantisation) : weights;
  const what = quantize ? `quantising to ${quantize}` : "converting weights";
  const built = await buildGraph(target, config, source, style, (done, total) => onProgress(done, total, what));
  weights.checkAllRead(config);
  return {
    ...built,
    format: "safetensors",
    files: checkpoint.files.map(({ path, bytes }) => ({ path, bytes })),
    removedInputs: [],
    removedOutputs: [],
    nodesBefore: 0,
    parameters: [...checkpoint.tensors.values()].reduce((sum, { shape }) => sum + elements(shape), 0),
    weights:
      typesOf(checkpoint) + (quantize ? ` as ${quantize} by ${style.linears}; activations ${style.activations}` : ""),
    selfCheck: null,
  };
}

/** int4 keeps the embeddings and the output layer in int8: they are small beside the rest, and it shows at once. */
function quantisedWeights(
  weights: WeightSource,
  config: ModelConfig,
  { kind, quantiser }: CheckpointQuantisation,
): WeightSource {
  const { embedding, head } = architectureOf(config).names;
  const wider = new Set([`${embedding}.weight`, `${head}.weight`]);
  return {
    has: (name) => weights.has(name),
    vector: (name, length) => weights.vector(name, length),
    matrix: (name, rows, columns) =>
      quantiser(weights.matrix(name, rows, columns), wider.has(name) ? "int8" : kind, name),
  };
}

function elements(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** The types of the matrices: "BF16", "F16 and F32". */
function typesOf({ tensors }: Checkpoint): string {
  return [...new Set([...tensors.values()].filter(({ shape }) => shape.length > 1).map(({ dtype }) => dtype))]
    .sort()
    .join(" and ");
}
