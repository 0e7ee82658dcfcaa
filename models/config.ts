import { ModelError } from "./errors.ts";
import { Fields } from "./fields.ts";
import { type RopeScaling, ropeFrequencies, ropeTypes } from "./rope.ts";
import type { ModelConfig } from "./types.ts";

/** What differs between the supported `model_type`s; defaults are those of transformers' configuration classes. */
interface Architecture {
  readonly activations: readonly string[];
  readonly defaultActivation: string;
  readonly normField: string;
  readonly defaultNormEps: number;
  readonly defaultBos: number;
  /** The older spelling of rope_theta, and of partial_rotary_factor, with the latter's default. */
  readonly thetaField: string;
  readonly partialField: string;
  readonly defaultPartial: number;
}

const architectures: Readonly<Record<ModelConfig["modelType"], Architecture>> = {
  llama: {
    activations: ["silu", "swish"],
    defaultActivation: "silu",
    normField: "rms_norm_eps",
    defaultNormEps: 1e-6,
    defaultBos: 1,
    thetaField: "rope_theta",
    partialField: "partial_rotary_factor",
    defaultPartial: 1,
  },
  gpt_neox: {
    activations: ["gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh"],
    defaultActivation: "gelu",
    normField: "layer_norm_eps",
    defaultNormEps: 1e-5,
    defaultBos: 0,
    thetaField: "rotary_emb_base",
    partialField: "rotary_pct",
    defaultPartial: 0.25,
  },
};

/**
 * config.json of a Hugging Face model, and generation_config.json if there is one, as a ModelConfig. Takes the spellings
 * of transformers 4 (rope_theta, rope_scaling, rotary_pct) and 5 (rope_parameters).
 * @param source the file, for errors
 * @throws ModelError "unsupported_architecture" for another model_type; "unsupported_config" naming the field and value
 */
export function parseConfig(
  config: Readonly<Record<string, unknown>>,
  generation: Readonly<Record<string, unknown>> | undefined,
  source: string,
): ModelConfig {
  const modelType = config.model_type as ModelConfig["modelType"];
  if (!Object.hasOwn(architectures, modelType ?? "")) {
    throw new ModelError(
      "unsupported_architecture",
      `${source}: model_type is ${JSON.stringify(modelType) ?? "missing"}; supported: ${Object.keys(architectures).join(", ")}`,
    );
  }
  const architecture = architectures[modelType];
  const fields = new Fields(config, source);
  fields.choice("hidden_act", architecture.activations, architecture.defaultActivation);

  const hiddenSize = fields.count("hidden_size");
  const heads = fields.count("num_attention_heads");
  const kvHeads = modelType === "llama" ? fields.count("num_key_value_heads", heads) : heads;
  if (heads % kvHeads !== 0) fields.refuse("num_key_value_heads", `it must divide num_attention_heads = ${heads}`);
  if (!fields.has("head_dim") && hiddenSize % heads !== 0) {
    fields.refuse("hidden_size", `it must be a multiple of num_attention_heads = ${heads}`);
  }
  const headDim = fields.count("head_dim", hiddenSize / heads);
  const maxPositions = fields.count("max_position_embeddings", 2048);
  const rope = readRope(fields, architecture, headDim, maxPositions);
  const eos = fields.tokenIds("eos_token_id", [2]);
  const generationEos = generation
    ? new Fields(generation, `${source}, generation_config.json`).tokenIds("eos_token_id", [])
    : [];
  const bosTokenId = fields.tokenIds("bos_token_id", [architecture.defaultBos])[0];

  return {
    modelType,
    layers: fields.count("num_hidden_layers"),
    hiddenSize,
    intermediateSize: fields.count("intermediate_size"),
    heads,
    kvHeads,
    headDim,
    vocabSize: fields.count("vocab_size"),
    maxPositions,
    ...rope,
    normEps: fields.positive(architecture.normField, architecture.defaultNormEps),
    tiedHead: fields.boolean("tie_word_embeddings", false),
    parallelResidual: modelType === "gpt_neox" && fields.boolean("use_parallel_residual", true),
    ...(bosTokenId === undefined ? {} : { bosTokenId }),
    // generation_config.json is what transformers generates with; chat models list their end-of-turn tokens there.
    eosTokenIds: [...new Set([...generationEos, ...eos])],
  };
}

type RopeFields = Pick<ModelConfig, "rotaryDim" | "inverseFrequencies" | "ropeScale">;

function readRope(fields: Fields, architecture: Architecture, headDim: number, maxPositions: number): RopeFields {
  const parameters = fields.object(fields.has("rope_parameters") ? "rope_parameters" : "rope_scaling");
  const theta = parameters.has("rope_theta")
    ? parameters.positive("rope_theta")
    : fields.positive(fields.has("rope_theta") ? "rope_theta" : architecture.thetaField, 10_000);
  const partial = parameters.has("partial_rotary_factor")
    ? parameters.positive("partial_rotary_factor")
    : fields.positive(
        fields.has("partial_rotary_factor") ? "partial_rotary_factor" : architecture.partialField,
        architecture.defaultPartial,
      );
  const rotaryDim = Math.trunc(headDim * partial);
  if (rotaryDim < 2 || rotaryDim % 2 !== 0 || rotaryDim > headDim) {
    throw new ModelError(
      "unsupported_config",
      `${fields.source}: a rotary factor of ${partial} rotates ${rotaryDim} of a head's ${headDim} components; ` +
        "it must be an even number from 2 to all of them",
    );
  }
  const scaling = readScaling(parameters, fields, maxPositions);
  return { rotaryDim, ...ropeFrequencies(theta, rotaryDim, scaling) };
}

function readScaling(parameters: Fields, fields: Fields, maxPositions: number): RopeScaling {
  const typeField = parameters.has("rope_type") || !parameters.has("type") ? "rope_type" : "type";
  const type = parameters.choice(typeField, ropeTypes, "default");
  if (type === "default") return { type };
  // transformers 5 lets a top-level original_max_position_embeddings override the one inside.
  const originalMaxPositions = fields.has("original_max_position_embeddings")
    ? fields.positive("original_max_position_embeddings")
    : parameters.positive("original_max_position_embeddings", maxPositions);
  if (type === "linear") return { type, factor: parameters.positive("factor") };
  if (type === "llama3") {
    return {
      type,
      factor: parameters.positive("factor"),
      lowFreqFactor: parameters.positive("low_freq_factor"),
      highFreqFactor: parameters.positive("high_freq_factor"),
      originalMaxPositions,
    };
  }
  const optional = (name: string) => (parameters.has(name) ? parameters.positive(name) : undefined);
  return {
    type,
    factor: parameters.positive("factor", maxPositions / originalMaxPositions),
    originalMaxPositions,
    betaFast: parameters.positive("beta_fast", 32),
    betaSlow: parameters.positive("beta_slow", 1),
    truncate: parameters.boolean("truncate", true),
    attentionFactor: optional("attention_factor"),
    mscale: optional("mscale"),
    mscaleAllDim: optional("mscale_all_dim"),
  };
}
