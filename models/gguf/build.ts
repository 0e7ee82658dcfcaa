import { buildGraph } from "../builder/build.ts";
import type { LinearStyle } from "../builder/style.ts";
import type { ImportReport, LoadModelOptions, ModelConfig } from "../types.ts";
import type { GgufFile } from "./reader.ts";
import { ggufWeights } from "./weights.ts";

/** A graph in the empty folder `folder`, of weights that keep their quantisation. */
export async function buildGgufGraph(
  file: GgufFile,
  config: ModelConfig,
  folder: string,
  style: LinearStyle,
  onProgress: LoadModelOptions["onProgress"],
): Promise<ImportReport> {
  const built = await buildGraph(folder, config, ggufWeights(file, config), style, onProgress);
  const tensors = [...file.tensors.values()];
  return {
    ...built,
    format: "gguf",
    files: file.parts,
    removedInputs: [],
    removedOutputs: [],
    nodesBefore: 0,
    parameters: tensors.reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0),
    weights: `${typesOf(file)} by ${style.linears}; activations ${style.activations}`,
    selfCheck: null,
  };
}

/** The types of the matrices, by how much of the file they take: "Q4_1 and Q8_0". */
function typesOf(file: GgufFile): string {
  const bytes = new Map<string, number>();
  for (const { type, shape, bytes: size } of file.tensors.values()) {
    if (shape.length > 1) bytes.set(type.name, (bytes.get(type.name) ?? 0) + size);
  }
  return [...bytes]
    .sort(([, a], [, b]) => b - a)
    .map(([name]) => name)
    .join(" and ");
}
