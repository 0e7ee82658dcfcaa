import { basename, dirname } from "node:path";
import { buildGraph } from "../builder/build.ts";
import { type LinearStyle, linearStyle, styleSuffixes } from "../builder/linear.ts";
import { prepareGraph } from "../cache.ts";
import type { ImportReport, LoadModelOptions, ModelConfig, PreparedModel } from "../types.ts";
import { checkAgreement } from "./agreement.ts";
import { ggufConfig } from "./config.ts";
import { type GgufFile, openGguf } from "./reader.ts";
import { ggufTokenizer } from "./tokenizer.ts";
import { ggufWeights } from "./weights.ts";

/**
 * Makes a GGUF file ready for a session: its tokenizer, chat template and configuration, and a canonical graph built from
 * its weights, which keep their quantisation. The graph is cached, see cache.ts.
 * @throws ModelError naming the file, tensor or metadata key
 */
export async function importGguf(path: string, options: LoadModelOptions = {}): Promise<PreparedModel> {
  const style = linearStyle(options);
  const file = await openGguf(path);
  try {
    const config = ggufConfig(file);
    checkAgreement(file, config);
    const tokenizer = ggufTokenizer(file);
    const name = basename(path, ".gguf");
    const prepared = await prepareGraph({
      folder: dirname(path),
      label: [name, ...styleSuffixes(style)].join("-"),
      files: [path],
      options,
      build: (folder) => buildReport(file, config, folder, style, options),
    });
    return { name, source: path, config, tokenizer, ...prepared };
  } finally {
    file.close();
  }
}

async function buildReport(
  file: GgufFile,
  config: ModelConfig,
  folder: string,
  style: LinearStyle,
  options: LoadModelOptions,
): Promise<ImportReport> {
  const built = await buildGraph(folder, config, ggufWeights(file, config), style, options.onProgress);
  const tensors = [...file.tensors.values()];
  return {
    ...built,
    format: "gguf",
    files: [{ path: file.path, bytes: file.bytes }],
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
