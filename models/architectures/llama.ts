import type { Fields } from "../fields.ts";
import type { Architecture } from "./types.ts";

/** Biases of attention's projections where `attention_bias` says so. */
export function attentionBiases(fields: Fields): readonly string[] {
  return fields.boolean("attention_bias", false)
    ? ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
    : [];
}

/** Llama 1 to 3.3, TinyLlama, SmolLM2 and all that call themselves so; the others differ from it. */
export const llama: Architecture = {
  activations: { silu: "silu", swish: "silu" },
  defaultActivation: "silu",
  normField: "rms_norm_eps",
  defaultNormEps: 1e-6,
  defaultBos: [1],
  defaultEos: [2],
  defaultPositions: 2048,
  thetaField: "rope_theta",
  partialField: "partial_rotary_factor",
  defaultPartial: 1,
  tiedByDefault: false,
  defaultKvHeads: "heads",
  biases: (fields) => [
    ...attentionBiases(fields),
    ...(fields.boolean("mlp_bias", false) ? ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"] : []),
  ],
  names: {
    embedding: "model.embed_tokens",
    layers: "model.layers",
    attentionNorm: "input_layernorm",
    projections: ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    output: "self_attn.o_proj",
    feedNorm: "post_attention_layernorm",
    widen: ["mlp.gate_proj", "mlp.up_proj"],
    narrow: "mlp.down_proj",
    finalNorm: "model.norm",
    head: "lm_head",
  },
  norm: "rms",
  heads: "blocked",
  gated: true,
};
