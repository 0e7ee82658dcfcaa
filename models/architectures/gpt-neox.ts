import { llama } from "./llama.ts";
import type { Architecture } from "./types.ts";

/** GPT-NeoX, Pythia: layer norms, a feed-forward without gate, heads whose q, k and v lie side by side. */
export const gptNeox: Architecture = {
  activations: {
    gelu: "gelu",
    gelu_new: "gelu_tanh",
    gelu_fast: "gelu_tanh",
    gelu_pytorch_tanh: "gelu_tanh",
  },
  defaultActivation: "gelu",
  normField: "layer_norm_eps",
  defaultNormEps: 1e-5,
  defaultBos: [0],
  defaultEos: [2],
  defaultPositions: llama.defaultPositions,
  thetaField: "rotary_emb_base",
  partialField: "rotary_pct",
  defaultPartial: 0.25,
  tiedByDefault: false,
  biases: (fields) => [
    ...(fields.boolean("attention_bias", true) ? ["attention.query_key_value", "attention.dense"] : []),
    "mlp.dense_h_to_4h",
    "mlp.dense_4h_to_h",
  ],
  names: {
    embedding: "gpt_neox.embed_in",
    layers: "gpt_neox.layers",
    attentionNorm: "input_layernorm",
    projections: ["attention.query_key_value"],
    output: "attention.dense",
    feedNorm: "post_attention_layernorm",
    widen: ["mlp.dense_h_to_4h"],
    narrow: "mlp.dense_4h_to_h",
    finalNorm: "gpt_neox.final_layer_norm",
    head: "embed_out",
  },
  norm: "layer",
  heads: "interleaved",
  gated: false,
};
