import { existsSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { architectureOf } from "../architectures/index.ts";
import { buildGraph } from "../builder/build.ts";
import { type LinearStyle, linearStyle, styleSuffixes } from "../builder/linear.ts";
import type { WeightSource } from "../builder/weights.ts";
import { prepareGraph } from "../cache.ts";
import { parseConfig } from "../config.ts";
import { ModelError } from "../errors.ts";
import { readJsonFile } from "../json.ts";
import { readTokenizerFiles } from "../tokenizer-files.ts";
import type { ImportReport, LoadModelOptions, ModelConfig, PreparedModel } from "../types.ts";
import { type Checkpoint, openCheckpoint } from "./checkpoint.ts";
import { type Quantisation, quantise } from "./quantise.ts";
import { checkpointWeights } from "./weights.ts";

/**
 * Makes a Hugging Face checkpoint (config.json, tokenizer.json and weights in safetensors) ready for a session: a canonical
 * graph built from its weights. The graph is cached, see cache.ts.
 * @param path the folder, or a .safetensors file in it
 * @throws ModelError naming the file, tensor or field
 */
export async function importCheckpoint(path: string, options: LoadModelOptions = {}): Promise<PreparedModel> {
  const folder = statSync(path).isDirectory() ? path : dirname(path);
  const style = linearStyle(options);
  const configPath = join(folder, "config.json");
  const generationPath = join(folder, "generation_config.json");
  const configJson = readJsonFile(configPath);
  refuseQuantised(configJson, configPath);
  const generation = existsSync(generationPath) ? readJsonFile(generationPath) : undefined;
  const config = parseConfig(configJson, generation, configPath, options);
  const tokenizer = readTokenizerFiles(folder);
  const checkpoint = openCheckpoint(path);
  try {
    const variant = [options.quantize, config.ropeVariant].filter((part) => part !== undefined);
    const prepared = await prepareGraph({
      folder,
      label: ["safetensors", ...variant, ...styleSuffixes(style)].join("-"),
      files: [configPath, ...checkpoint.paths],
      options,
      build: (target) => build(checkpoint, config, target, style, options),
    });
    return { name: basename(folder), source: path, config, tokenizer, ...prepared };
  } finally {
    checkpoint.close();
  }
}

async function build(
  checkpoint: Checkpoint,
  config: ModelConfig,
  target: string,
  style: LinearStyle,
  { onProgress, quantize }: LoadModelOptions,
): Promise<ImportReport> {
  const weights = checkpointWeights(checkpoint);
  const source = quantize ? quantisedWeights(weights, config, quantize) : weights;
  const what = quantize ? `quantising to ${quantize}` : "converting weights";
  const built = await buildGraph(target, config, source, style, (done, total) => onProgress?.(done, total, what));
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
function quantisedWeights(weights: WeightSource, config: ModelConfig, kind: Quantisation): WeightSource {
  const { embedding, head } = architectureOf(config).names;
  const wider = new Set([`${embedding}.weight`, `${head}.weight`]);
  return {
    has: (name) => weights.has(name),
    vector: (name, length) => weights.vector(name, length),
    matrix: (name, rows, columns) =>
      quantise(weights.matrix(name, rows, columns), wider.has(name) ? "int8" : kind, name),
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

function refuseQuantised(config: Readonly<Record<string, unknown>>, path: string): void {
  const quantised = config.quantization_config as { quant_method?: unknown } | null | undefined;
  if (quantised === undefined || quantised === null) return;
  throw new ModelError(
    "unsupported_config",
    `${path}: the weights are quantised (quantization_config, quant_method ${JSON.stringify(quantised.quant_method) ?? "missing"}), ` +
      "which is not supported; take the checkpoint that is not, and quantise it here (--quantize int4 or int8), or a GGUF",
  );
}
