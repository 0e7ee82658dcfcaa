import { Fields } from "../fields.ts";
import { samplingDefaults } from "../sampling-defaults.ts";
import type { ModelConfig } from "../types.ts";

/** The file that onnxruntime-genai's model builder writes beside a graph. */
export const genaiFile = "genai_config.json";

/** What the graph has to say, since genai_config.json does not. */
export type GraphFacts = Pick<
  ModelConfig,
  "rotaryDim" | "ropeScale" | "normEps" | "intermediateSize" | "tiedHead" | "maxPositions"
> & {
  readonly inverseFrequencies: readonly number[];
  /** The contexts that this graph is for, where it has others for longer or shorter ones: more than, at most. */
  readonly contexts?: readonly [number, number];
};

export interface GenaiConfig {
  /** The name of the graph's file, in the same folder. */
  readonly graphFile: string;
  readonly config: Omit<ModelConfig, Exclude<keyof GraphFacts, "contexts" | "maxPositions">>;
}

/** Parts of a model that is more than a decoder of text. */
const otherParts = ["vision", "speech", "embedding", "encoder", "encoder_decoder_init"];
/** Names that the graph's inputs and outputs must have, as the builder gives them. */
const inputNames = ["input_ids", "attention_mask", "position_ids"];

/**
 * genai_config.json as a ModelConfig, as far as it goes.
 * @param source the file, for errors
 * @throws ModelError "unsupported_config" naming the field and value
 */
export function parseGenaiConfig(values: Readonly<Record<string, unknown>>, source: string): GenaiConfig {
  const root = new Fields(values, source);
  if (!root.has("model")) root.refuse("model", "it must be an object");
  const model = root.object("model");
  for (const part of otherParts) if (model.has(part)) model.refuse(part, "only decoders of text are supported");
  if (!model.has("decoder")) model.refuse("decoder", "it must be an object");
  const decoder = model.object("decoder");
  if (decoder.has("pipeline")) decoder.refuse("pipeline", "models in several graphs are not supported");
  checkNames(decoder);
  const heads = decoder.count("num_attention_heads");
  const kvHeads = decoder.count("num_key_value_heads", heads);
  if (heads % kvHeads !== 0) decoder.refuse("num_key_value_heads", `it must divide num_attention_heads = ${heads}`);
  const vocabSize = model.count("vocab_size");
  const windows = readWindows(decoder);
  const bosTokenId = readTokens(model, "bos_token_id", vocabSize)[0];
  const sampling = samplingDefaults(root.object("search"));
  return {
    graphFile: readFileName(decoder),
    config: {
      file: genaiFile,
      modelType: model.text("type"),
      layers: decoder.count("num_hidden_layers"),
      hiddenSize: decoder.count("hidden_size"),
      heads,
      kvHeads,
      headDim: decoder.count("head_size"),
      vocabSize,
      maxPositions: model.count("context_length"),
      parallelResidual: false,
      ...(windows ? { windows } : {}),
      ...(bosTokenId === undefined ? {} : { bosTokenId }),
      eosTokenIds: readTokens(model, "eos_token_id", vocabSize),
      ...(sampling ? { sampling } : {}),
    },
  };
}

function readFileName(decoder: Fields): string {
  const name = decoder.text("filename");
  if (/[\\/:\0]/.test(name) || name === "." || name === "..")
    decoder.refuse("filename", "it must be a file in the same folder");
  return name;
}

function checkNames(decoder: Fields): void {
  const inputs = decoder.object("inputs");
  if (inputs.has("inputs_embeds")) inputs.refuse("inputs_embeds", "a graph that takes token ids is needed");
  const outputs = decoder.object("outputs");
  for (const name of inputNames) {
    if (inputs.has(name) && inputs.values[name] !== name) inputs.refuse(name, `supported: "${name}"`);
  }
  if (outputs.has("logits") && outputs.values.logits !== "logits") outputs.refuse("logits", 'supported: "logits"');
}

/** Ids that the vocabulary has. */
function readTokens(model: Fields, name: string, vocabSize: number): number[] {
  const ids = model.tokenIds(name, []);
  if (ids.some((id) => id >= vocabSize)) model.refuse(name, `it must be below vocab_size = ${vocabSize}`);
  return ids;
}

/** What the runtime is told of windows, so that it can drop what is out of sight; the graph has its own say. */
function readWindows(decoder: Fields): number[] | undefined {
  const layers = decoder.count("num_hidden_layers");
  if (!decoder.has("sliding_window")) return undefined;
  const sliding = decoder.object("sliding_window");
  const window = sliding.count("window_size");
  const all = Array.from({ length: layers }, (_, layer) => layer);
  const chosen: unknown = sliding.has("layers") ? sliding.values.layers : all;
  const known = (layer: unknown) => Number.isInteger(layer) && (layer as number) >= 0 && (layer as number) < layers;
  if (!Array.isArray(chosen) || !chosen.every(known)) {
    return sliding.refuse("layers", `it must be a list of layers below num_hidden_layers = ${layers}`);
  }
  const local = new Set<unknown>(chosen);
  return all.map((layer) => (local.has(layer) ? window : 0));
}
