import { statSync } from "node:fs";
import { basename, dirname, extname, join } from "node:path";
import { parseConfig } from "./config.ts";
import { readConfigFiles } from "./config-files.ts";
import { ModelError } from "./errors.ts";
import { Fields } from "./fields.ts";
import { genaiFile, parseGenaiConfig } from "./genai/config.ts";
import { readJsonFile } from "./json.ts";
import { configFolder, isGenai, modelFile } from "./load.ts";
import { locateModel } from "./registry.ts";
import { type SamplingDefaults, samplingDefaults } from "./sampling-defaults.ts";
import { readTokenizerFiles } from "./tokenizer-files.ts";
import type { LoadModelOptions, ModelConfig, TokenizerFiles } from "./types.ts";

/** What serving needs to know of a model whose graph runs as it is. What the file does not say is undefined. */
export interface AsIsConfig {
  readonly modelType: string;
  readonly layers: number | undefined;
  readonly kvHeads: number | undefined;
  readonly headDim: number | undefined;
  readonly vocabSize: number | undefined;
  /** The longest sequence, in tokens. */
  readonly maxPositions: number;
  readonly bosTokenId?: number;
  readonly eosTokenIds: readonly number[];
  readonly sampling?: SamplingDefaults;
  /** Whether the architecture is one that this version knows, so that a graph of another shape is another model's. */
  readonly known: boolean;
}

/** An ONNX model that nothing was prepared of. */
export interface AsIsModel {
  /** The name it is served under. */
  readonly name: string;
  /** The .onnx file. */
  readonly source: string;
  readonly bytes: number;
  readonly config: AsIsConfig;
  readonly tokenizer: TokenizerFiles;
}

/** Fields of the longest sequence, by the architectures that spell it so. */
const positionFields = [
  "max_position_embeddings",
  "n_positions",
  "n_ctx",
  "max_sequence_length",
  "max_seq_len",
  "seq_length",
];

/**
 * Finds an ONNX model as loadModel does, to be served as it is. Its config.json may be of any architecture.
 * @throws ModelError for a model that is none or did not come as ONNX, and for files that are missing or say too little
 */
export function locateAsIs(
  nameOrPath: string,
  { cacheDir, maxContext }: Pick<LoadModelOptions, "cacheDir" | "maxContext"> = {},
): AsIsModel {
  const location = locateModel(nameOrPath, cacheDir);
  const source = modelFile(location);
  if (extname(source) !== ".onnx") {
    throw new ModelError("unsupported_config", `${source} is no ONNX model, so ONNX Runtime cannot serve it as it is`);
  }
  const found = { name: location.name, source, bytes: statSync(source).size };
  if (isGenai(source)) {
    const path = join(dirname(source), genaiFile);
    const { config } = parseGenaiConfig(readJsonFile(path), path);
    return { ...found, config: { ...config, known: true }, tokenizer: readTokenizerFiles(dirname(source)) };
  }
  const folder = configFolder(source);
  const { path, config, generation } = readConfigFiles(folder);
  const tokenizer = readTokenizerFiles(folder);
  return { ...found, config: readAsIsConfig(config, generation, path, { tokenizer, maxContext }), tokenizer };
}

/** What else may say how long a sequence can be. */
export interface AsIsOptions {
  readonly tokenizer?: Pick<TokenizerFiles, "tokenizerConfig">;
  readonly maxContext?: number | undefined;
}

/** config.json of any decoder. Throws ModelError "unsupported_config" where nothing says how long a sequence can be. */
export function readAsIsConfig(
  config: Readonly<Record<string, unknown>>,
  generation: Readonly<Record<string, unknown>> | undefined,
  source: string,
  options: AsIsOptions = {},
): AsIsConfig {
  const known = knownConfig(config, generation, source);
  if (known !== undefined) return { ...known, known: true };
  const outer = new Fields(config, source);
  // Models of several kinds of input keep their decoder's in here.
  const fields = outer.has("text_config") ? outer.object("text_config") : outer;
  const count = (...names: string[]) => {
    const name = names.find((candidate) => fields.has(candidate));
    return name === undefined ? undefined : fields.count(name);
  };
  const heads = count("num_attention_heads", "n_head");
  const hiddenSize = count("hidden_size", "n_embd");
  const derived = heads !== undefined && hiddenSize !== undefined ? hiddenSize / heads : undefined;
  const eos = [generation, config, fields.values].flatMap((values) => tokenIds(values, "eos_token_id", source));
  const sampling = samplingDefaults(new Fields(generation ?? {}, `${source}, generation_config.json`));
  const bosTokenId = [config, fields.values].flatMap((values) => tokenIds(values, "bos_token_id", source))[0];
  return {
    modelType: typeof config.model_type === "string" ? config.model_type : basename(dirname(source)),
    layers: count("num_hidden_layers", "n_layer", "n_layers"),
    kvHeads: count("num_key_value_heads") ?? heads,
    headDim: count("head_dim") ?? (Number.isInteger(derived) ? derived : undefined),
    vocabSize: count("vocab_size"),
    maxPositions: count(...positionFields) ?? longest(options, source),
    ...(bosTokenId === undefined ? {} : { bosTokenId }),
    eosTokenIds: [...new Set(eos)],
    ...(sampling ? { sampling } : {}),
    known: false,
  };
}

function knownConfig(
  config: Readonly<Record<string, unknown>>,
  generation: Readonly<Record<string, unknown>> | undefined,
  source: string,
): ModelConfig | undefined {
  try {
    return parseConfig(config, generation, source);
  } catch (error) {
    // Whatever its attention is, the graph has it.
    if (error instanceof ModelError && /^unsupported_(architecture|config)$/.test(error.code)) return undefined;
    throw error;
  }
}

function tokenIds(values: Readonly<Record<string, unknown>> | undefined, name: string, source: string): number[] {
  return values === undefined ? [] : new Fields(values, source).tokenIds(name, []);
}

function longest({ tokenizer, maxContext }: AsIsOptions, source: string): number {
  // Where transformers knows none it writes 1e30.
  const length = tokenizer?.tokenizerConfig.model_max_length;
  if (typeof length === "number" && Number.isInteger(length) && length > 1 && length < 2 ** 31) return length;
  if (maxContext !== undefined) return maxContext;
  throw new ModelError(
    "unsupported_config",
    `${source} does not say how long a sequence can be (${positionFields.join(", ")}): set --max-context`,
  );
}
