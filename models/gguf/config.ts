import { ModelError } from "../errors.ts";
import type { Fields } from "../fields.ts";
import { ropeFrequencies } from "../rope.ts";
import type { ModelConfig } from "../types.ts";
import { type GgufArchitecture, ggufArchitectures } from "./architectures.ts";
import { dequantize } from "./blocks.ts";
import type { GgufFile } from "./reader.ts";
import { readScaling } from "./rope-scaling.ts";

/** Factors by which a file divides rope's frequencies (Llama 3.1 and later), one for each. */
export const ROPE_FACTORS = "rope_freqs.weight";

/** Rope makes a number for every second component before anything else tells that a size is wrong. */
const MOST_HEAD_DIM = 65_536;

/**
 * The configuration in a GGUF file's metadata. Keys are those of gguf-py's constants; what they leave out has llama.cpp's
 * default.
 * @throws ModelError "unsupported_architecture" for another general.architecture, "unsupported_config" naming the key
 */
export function ggufConfig(file: GgufFile): ModelConfig {
  const { metadata } = file;
  const named = metadata.values["general.architecture"];
  const architecture =
    typeof named === "string" && Object.hasOwn(ggufArchitectures, named) ? ggufArchitectures[named] : undefined;
  if (!architecture) {
    throw new ModelError(
      "unsupported_architecture",
      `${file.path}: general.architecture is ${JSON.stringify(named) ?? "missing"}; supported: ${Object.keys(ggufArchitectures).join(", ")}`,
    );
  }
  const key = (name: string) => `${named}.${name}`;
  if (metadata.has(key("expert_count")) && metadata.values[key("expert_count")] !== 0) {
    metadata.refuse(key("expert_count"), "mixtures of experts are not supported");
  }
  const vocabulary = metadata.values["tokenizer.ggml.tokens"];
  const bosTokenId = metadata.tokenIds("tokenizer.ggml.bos_token_id", [])[0];
  // A turn's or a message's end ends the text too; converters write these only for models that have them.
  const eosTokenIds = ["eos", "eot", "eom"].flatMap((name) => metadata.tokenIds(`tokenizer.ggml.${name}_token_id`, []));
  const heads = readHeads(metadata, architecture, key);
  const rope = ropeFrequencies(
    metadata.positive(key("rope.freq_base"), 10_000),
    heads.rotaryDim,
    readScaling(metadata, key),
  );
  return {
    modelType: architecture.modelType,
    layers: metadata.count(key("block_count")),
    ...heads,
    intermediateSize: metadata.count(key("feed_forward_length")),
    vocabSize: Array.isArray(vocabulary) ? vocabulary.length : metadata.count(key("vocab_size")),
    maxPositions: metadata.count(key("context_length")),
    inverseFrequencies: divided(rope.inverseFrequencies, file),
    ropeScale: rope.ropeScale,
    normEps: metadata.positive(key(architecture.epsilonKey)),
    ...(architecture.activation ? { activation: architecture.activation } : {}),
    tiedHead: !file.tensors.has("output.weight"),
    parallelResidual: architecture.modelType === "gpt_neox" && metadata.boolean(key("use_parallel_residual"), true),
    ...(bosTokenId === undefined ? {} : { bosTokenId }),
    eosTokenIds: [...new Set(eosTokenIds)],
  };
}

type Heads = Pick<ModelConfig, "hiddenSize" | "heads" | "kvHeads" | "headDim" | "rotaryDim">;

function readHeads(
  metadata: Fields,
  { partialRope, modelType }: GgufArchitecture,
  key: (name: string) => string,
): Heads {
  const hiddenSize = metadata.count(key("embedding_length"));
  const heads = metadata.count(key("attention.head_count"));
  const kvHeads = metadata.count(key("attention.head_count_kv"), heads);
  if (heads % kvHeads !== 0) metadata.refuse(key("attention.head_count_kv"), `it must divide the ${heads} heads`);
  if (modelType === "gpt_neox" && kvHeads !== heads) {
    metadata.refuse(key("attention.head_count_kv"), `every one of the ${heads} heads has keys of its own`);
  }
  if (!metadata.has(key("attention.key_length")) && hiddenSize % heads !== 0) {
    metadata.refuse(key("embedding_length"), `it must be a multiple of the ${heads} heads`);
  }
  const headDim = metadata.count(key("attention.key_length"), hiddenSize / heads);
  if (headDim > MOST_HEAD_DIM) {
    metadata.refuse(
      key("attention.key_length"),
      `a head has ${headDim} components, at most ${MOST_HEAD_DIM} are known`,
    );
  }
  if (metadata.count(key("attention.value_length"), headDim) !== headDim) {
    metadata.refuse(key("attention.value_length"), `keys have ${headDim}, values must have as many`);
  }
  const rotaryDim = metadata.count(key("rope.dimension_count"), headDim);
  if (partialRope) {
    if (rotaryDim > headDim || rotaryDim % 2 !== 0) {
      metadata.refuse(key("rope.dimension_count"), `it must be an even number, at most the head of ${headDim}`);
    }
  } else if (rotaryDim !== headDim || headDim % 2 !== 0) {
    // The order of the rows of q and k says where pairs are, and is only known for whole heads.
    metadata.refuse(key("rope.dimension_count"), `it must be the whole head of ${headDim}, an even number`);
  }
  return { hiddenSize, heads, kvHeads, headDim, rotaryDim };
}

function divided(frequencies: Float32Array, file: GgufFile): Float32Array {
  const tensor = file.tensors.get(ROPE_FACTORS);
  if (!tensor) return frequencies;
  if (tensor.type.name !== "F32" || tensor.shape.length !== 1 || tensor.shape[0] !== frequencies.length) {
    throw new ModelError(
      "file_invalid",
      `${file.path}: tensor "${ROPE_FACTORS}" is ${tensor.type.name} [${tensor.shape.join(", ")}], ` +
        `F32 [${frequencies.length}] was expected`,
    );
  }
  const factors = dequantize("F32", file.read(tensor));
  return frequencies.map((frequency, i) => frequency / factors[i]!);
}
