import { architectures } from "./architectures/index.ts";
import type { Activation, Architecture, ModelType } from "./architectures/types.ts";
import { ModelError } from "./errors.ts";
import { Fields } from "./fields.ts";
import { type RopeScaling, ropeFrequencies, ropeTypes } from "./rope.ts";
import { samplingDefaults } from "./sampling-defaults.ts";
import type { ModelConfig } from "./types.ts";

/** What a field must not say, since it means another model than the one that is built. */
const refusedFields: Readonly<Record<string, string>> = {
  num_local_experts: "mixtures of experts are not supported",
  num_experts: "mixtures of experts are not supported",
  attn_logit_softcapping: "soft caps on attention's logits are not supported",
  final_logit_softcapping: "soft caps on logits are not supported",
  use_bidirectional_attention: "only causal attention is supported",
  is_encoder_decoder: "only decoders are supported",
};

/** How config.json is to be understood. */
export interface ConfigOptions {
  /** The longest sequence to be served, which some rope scalings go by; as long as the model was made for when left out. */
  readonly maxContext?: number | undefined;
}

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
  { maxContext }: ConfigOptions = {},
): ModelConfig {
  const modelType = config.model_type as ModelType;
  if (!Object.hasOwn(architectures, modelType ?? "")) {
    throw new ModelError(
      "unsupported_architecture",
      `${source}: model_type is ${JSON.stringify(modelType) ?? "missing"}; supported: ${Object.keys(architectures).join(", ")}`,
    );
  }
  const architecture = architectures[modelType];
  const fields = new Fields(config, source);
  for (const [field, reason] of Object.entries(refusedFields)) {
    const value = config[field];
    if (fields.has(field) && value !== false && value !== 0) fields.refuse(field, reason);
  }

  const layers = fields.count("num_hidden_layers");
  const maxPositions = fields.count("max_position_embeddings", architecture.defaultPositions);
  const shape = readHeads(fields, architecture);
  const rope = readRope(fields, architecture, shape.headDim, maxPositions, maxContext);
  const eos = fields.tokenIds("eos_token_id", architecture.defaultEos);
  const generationFields = new Fields(generation ?? {}, `${source}, generation_config.json`);
  const generationEos = generationFields.tokenIds("eos_token_id", []);
  const sampling = samplingDefaults(generationFields);
  const bosTokenId = fields.tokenIds("bos_token_id", architecture.defaultBos)[0];
  const windows = architecture.windows?.(fields, layers) ?? [];

  return {
    modelType,
    layers,
    ...shape,
    intermediateSize: fields.count("intermediate_size"),
    vocabSize: fields.count("vocab_size"),
    maxPositions,
    ...rope,
    normEps: fields.positive(architecture.normField, architecture.defaultNormEps),
    activation: readActivation(fields, architecture),
    tiedHead: fields.boolean("tie_word_embeddings", architecture.tiedByDefault),
    parallelResidual: modelType === "gpt_neox" && fields.boolean("use_parallel_residual", true),
    biases: architecture.biases(fields),
    ...(windows.some((window) => window > 0) ? { windows } : {}),
    ...(bosTokenId === undefined ? {} : { bosTokenId }),
    // generation_config.json is what transformers generates with; chat models list their end-of-turn tokens there.
    eosTokenIds: [...new Set([...generationEos, ...eos])],
    ...(sampling ? { sampling } : {}),
  };
}

function readHeads(
  fields: Fields,
  { defaultKvHeads, defaultHeadDim }: Architecture,
): Pick<ModelConfig, "hiddenSize" | "heads" | "kvHeads" | "headDim"> {
  const hiddenSize = fields.count("hidden_size");
  const heads = fields.count("num_attention_heads");
  const kvHeads =
    defaultKvHeads === undefined || fields.values.num_key_value_heads === null
      ? heads
      : fields.count("num_key_value_heads", defaultKvHeads === "heads" ? heads : defaultKvHeads);
  if (heads % kvHeads !== 0) fields.refuse("num_key_value_heads", `it must divide num_attention_heads = ${heads}`);
  const derived = defaultHeadDim ?? hiddenSize / heads;
  if (!fields.has("head_dim") && !Number.isInteger(derived)) {
    fields.refuse("hidden_size", `it must be a multiple of num_attention_heads = ${heads}`);
  }
  return { hiddenSize, heads, kvHeads, headDim: fields.count("head_dim", derived) };
}

function readActivation(fields: Fields, { activations, defaultActivation }: Architecture): Activation {
  // Gemma's, which came later and counts where it is given.
  const field = fields.has("hidden_activation") ? "hidden_activation" : "hidden_act";
  return activations[fields.choice(field, Object.keys(activations), defaultActivation)]!;
}

type RopeFields = Pick<ModelConfig, "rotaryDim" | "inverseFrequencies" | "ropeScale"> &
  Partial<Pick<ModelConfig, "maxPositions" | "ropeVariant" | "shortPositions">>;

function readRope(
  fields: Fields,
  architecture: Architecture,
  headDim: number,
  maxPositions: number,
  maxContext: number | undefined,
): RopeFields {
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
  const scaling = readScaling(parameters, fields, maxPositions, rotaryDim / 2);
  const context = contextOf(scaling, maxPositions, maxContext);
  const frequencies = { rotaryDim, ...ropeFrequencies(theta, rotaryDim, scaling, context) };
  if (scaling.type === "longrope") {
    const { originalMaxPositions: shortPositions } = scaling;
    return { ...frequencies, shortPositions, ropeVariant: context > shortPositions ? "long" : "short" };
  }
  // With as many positions as the model was trained for, dynamic scaling does nothing.
  if (scaling.type !== "dynamic" || context <= maxPositions) return frequencies;
  return { ...frequencies, maxPositions: context, ropeVariant: `dynamic-${context}` };
}

/** The longest sequence there will be. Dynamic scaling is the one that takes a model beyond its max_position_embeddings. */
function contextOf(scaling: RopeScaling, maxPositions: number, maxContext = maxPositions): number {
  const most = scaling.type === "dynamic" ? Math.floor(maxPositions * scaling.factor) : maxPositions;
  return Math.min(maxContext, most);
}

function readScaling(parameters: Fields, fields: Fields, maxPositions: number, components: number): RopeScaling {
  const type = scalingType(parameters);
  if (type === "default") return { type };
  // transformers 5 lets a top-level original_max_position_embeddings override the one inside.
  const originalMaxPositions = fields.has("original_max_position_embeddings")
    ? fields.positive("original_max_position_embeddings")
    : parameters.positive("original_max_position_embeddings", maxPositions);
  if (type === "linear") return { type, factor: parameters.positive("factor") };
  if (type === "dynamic") return { type, factor: parameters.positive("factor"), originalMaxPositions: maxPositions };
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
  const factor = parameters.positive("factor", maxPositions / originalMaxPositions);
  if (type === "longrope") {
    return {
      type,
      factor,
      originalMaxPositions,
      shortFactors: parameters.positives("short_factor", components),
      longFactors: parameters.positives("long_factor", components),
      attentionFactor: optional("attention_factor"),
    };
  }
  return {
    type,
    factor,
    originalMaxPositions,
    betaFast: parameters.positive("beta_fast", 32),
    betaSlow: parameters.positive("beta_slow", 1),
    truncate: parameters.boolean("truncate", true),
    attentionFactor: optional("attention_factor"),
    mscale: optional("mscale"),
    mscaleAllDim: optional("mscale_all_dim"),
  };
}

/** In both spellings. Phi-3's first files call longrope "su" or "yarn"; its lists of factors tell it from the real one. */
function scalingType(parameters: Fields): RopeScaling["type"] {
  const field = parameters.has("rope_type") || !parameters.has("type") ? "rope_type" : "type";
  const value = parameters.values[field];
  if ((value === "su" || value === "yarn") && parameters.has("long_factor")) return "longrope";
  return parameters.choice(field, ropeTypes, "default");
}
