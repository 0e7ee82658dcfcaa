import { basename, dirname, join } from "node:path";
import { type PreparedGraph, prepareGraph } from "../cache.ts";
import { ModelError } from "../errors.ts";
import { readJsonFile } from "../json.ts";
import { chooseBranches } from "../onnx/branches.ts";
import { Flow } from "../onnx/flow.ts";
import { Graph } from "../onnx/graph.ts";
import { importOnnx } from "../onnx/import.ts";
import { encodeModel, readModel } from "../onnx/proto.ts";
import { takeWholeCaches } from "../onnx/whole-cache.ts";
import { readTokenizerFiles } from "../tokenizer-files.ts";
import type { ImportReport, LoadModelOptions, ModelConfig, PreparedModel } from "../types.ts";
import { type GenaiConfig, type GraphFacts, genaiFile, parseGenaiConfig } from "./config.ts";
import { graphFacts } from "./facts.ts";

/**
 * Makes a model as onnxruntime-genai's builder leaves it ready for a session: genai_config.json, the graph that it names,
 * and the tokenizer's files. What a config.json would say of rope and more is read from the graph.
 * @param path the graph
 * @throws ModelError naming the file, field or node
 */
export async function importGenai(path: string, options: LoadModelOptions = {}): Promise<PreparedModel> {
  const folder = dirname(path);
  const configPath = join(folder, genaiFile);
  const genai = parseGenaiConfig(readJsonFile(configPath), configPath);
  if (genai.graphFile !== basename(path)) {
    throw new ModelError(
      "unsupported_config",
      `${configPath}: model: decoder: filename is "${genai.graphFile}"; it must be "${basename(path)}" for that graph to be loaded`,
    );
  }
  const longest = Math.min(options.maxContext ?? genai.config.maxPositions, genai.config.maxPositions);
  const tokenizer = readTokenizerFiles(folder);
  const prepared = await prepareGraph({
    folder,
    label: basename(path, ".onnx"),
    files: [configPath, path],
    options,
    fits: ({ facts }) => facts !== undefined && fitsContext(facts, longest),
    build: (target) => build(path, genai, longest, target, options),
  });
  return { name: basename(folder), source: path, config: complete(genai, prepared), tokenizer, ...prepared };
}

async function build(
  path: string,
  genai: GenaiConfig,
  longest: number,
  target: string,
  options: LoadModelOptions,
): Promise<ImportReport> {
  const model = readModel(path);
  const whole = takeWholeCaches(model);
  const contexts = await chooseBranches(model, genai.config, longest);
  const facts: GraphFacts = {
    ...graphFacts(new Flow(new Graph(model)), genai, contexts?.[1]),
    ...(contexts ? { contexts } : {}),
  };
  // Where a branch was chosen the file would choose for itself, by the length of the text that it is compared on.
  const original = contexts || whole ? { bytes: encodeModel(model), folder: dirname(path) } : path;
  const report = await importOnnx(path, configOf(genai, facts), target, { ...options, model, original });
  return { ...report, facts };
}

function fitsContext({ contexts }: GraphFacts, longest: number): boolean {
  return contexts === undefined || (longest > contexts[0] && longest <= contexts[1]);
}

function complete(genai: GenaiConfig, { report }: PreparedGraph): ModelConfig {
  return configOf(genai, report.facts!);
}

function configOf({ config }: GenaiConfig, { contexts: _, inverseFrequencies, ...facts }: GraphFacts): ModelConfig {
  return { ...config, ...facts, inverseFrequencies: Float32Array.from(inverseFrequencies) };
}
