import { ModelError } from "../errors.ts";
import type { Fields } from "../fields.ts";
import { type RopeScaling, ropeFrequencies } from "../rope.ts";
import type { ModelConfig } from "../types.ts";
import { dequantize } from "./blocks.ts";
import type { GgufFile } from "./reader.ts";

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
  const architecture = metadata.values["general.architecture"];
  if (architecture !== "llama") {
    throw new ModelError(
      "unsupported_architecture",
      `${file.path}: general.architecture is ${JSON.stringify(architecture) ?? "missing"}; supported: llama`,
    );
  }
  if (metadata.has("llama.expert_count") && metadata.values["llama.expert_count"] !== 0) {
    metadata.refuse("llama.expert_count", "mixtures of experts are not supported");
  }
  const hiddenSize = metadata.count("llama.embedding_length");
  const heads = metadata.count("llama.attention.head_count");
  const kvHeads = metadata.count("llama.attention.head_count_kv", heads);
  if (heads % kvHeads !== 0) metadata.refuse("llama.attention.head_count_kv", `it must divide the ${heads} heads`);
  if (!metadata.has("llama.attention.key_length") && hiddenSize % heads !== 0) {
    metadata.refuse("llama.embedding_length", `it must be a multiple of the ${heads} heads`);
  }
  const headDim = metadata.count("llama.attention.key_length", hiddenSize / heads);
  if (headDim > MOST_HEAD_DIM) {
    metadata.refuse(
      "llama.attention.key_length",
      `a head has ${headDim} components, at most ${MOST_HEAD_DIM} are known`,
    );
  }
  if (metadata.count("llama.attention.value_length", headDim) !== headDim) {
    metadata.refuse("llama.attention.value_length", `keys have ${headDim}, values must have as many`);
  }
  const rotaryDim = metadata.count("llama.rope.dimension_count", headDim);
  // The order of the rows of q and k says where pairs are, and is only known for whole heads.
  if (rotaryDim !== headDim || headDim % 2 !== 0) {
    metadata.refuse("llama.rope.dimension_count", `it must be the whole head of ${headDim}, an even number`);
  }
  const rope = ropeFrequencies(metadata.positive("llama.rope.freq_base", 10_000), rotaryDim, readScaling(metadata));
  const vocabulary = metadata.values["tokenizer.ggml.tokens"];
  const bosTokenId = metadata.tokenIds("tokenizer.ggml.bos_token_id", [])[0];
  // A turn's or a message's end ends the text too; converters write these only for models that have them.
  const eosTokenIds = ["eos", "eot", "eom"].flatMap((name) => metadata.tokenIds(`tokenizer.ggml.${name}_token_id`, []));
  return {
    modelType: "llama",
    layers: metadata.count("llama.block_count"),
    hiddenSize,
    intermediateSize: metadata.count("llama.feed_forward_length"),
    heads,
    kvHeads,
    headDim,
    vocabSize: Array.isArray(vocabulary) ? vocabulary.length : metadata.count("llama.vocab_size"),
    maxPositions: metadata.count("llama.context_length"),
    rotaryDim,
    inverseFrequencies: divided(rope.inverseFrequencies, file),
    ropeScale: rope.ropeScale,
    normEps: metadata.positive("llama.attention.layer_norm_rms_epsilon"),
    tiedHead: !file.tensors.has("output.weight"),
    parallelResidual: false,
    ...(bosTokenId === undefined ? {} : { bosTokenId }),
    eosTokenIds: [...new Set(eosTokenIds)],
  };
}

function readScaling(metadata: Fields): RopeScaling {
  // The older spelling.
  if (metadata.has("llama.rope.scale_linear")) {
    return { type: "linear", factor: metadata.positive("llama.rope.scale_linear") };
  }
  const type = metadata.choice("llama.rope.scaling.type", ["none", "linear"], "none");
  return type === "none" ? { type: "default" } : { type, factor: metadata.positive("llama.rope.scaling.factor") };
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
