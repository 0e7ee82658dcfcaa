import type { Activation, ModelType } from "../architectures/types.ts";
import type { ModelConfig } from "../types.ts";

/** What a GGUF says of a kind of decoder, and under which names it has the weights. */
export interface GgufArchitecture {
  readonly modelType: ModelType;
  /** Of the norms' epsilon, within the architecture's own metadata. */
  readonly epsilonKey: string;
  /** Whether rope may turn a part of a head only. */
  readonly partialRope: boolean;
  readonly activation?: Activation;
  /** Names within a layer: Hugging Face's to GGUF's. */
  readonly layerNames: Readonly<Record<string, string>>;
  readonly globalNames: Readonly<Record<string, string>>;
  /** GGUF's names of what may have a bias, within a layer and outside. */
  readonly biased: readonly string[];
  /** Shapes of tensors, [rows, columns], that between them have every size of the configuration. */
  readonly shapes: (config: ModelConfig) => Readonly<Record<string, readonly [number, number]>>;
}

const llama: GgufArchitecture = {
  modelType: "llama",
  epsilonKey: "attention.layer_norm_rms_epsilon",
  partialRope: false,
  layerNames: {
    input_layernorm: "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    post_attention_layernorm: "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
  },
  globalNames: { "model.embed_tokens": "token_embd", "model.norm": "output_norm", lm_head: "output" },
  biased: ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"],
  shapes: ({ vocabSize, hiddenSize, intermediateSize, heads, kvHeads, headDim }) => ({
    "token_embd.weight": [vocabSize, hiddenSize],
    "blk.0.attn_q.weight": [heads * headDim, hiddenSize],
    "blk.0.attn_k.weight": [kvHeads * headDim, hiddenSize],
    "blk.0.ffn_up.weight": [intermediateSize, hiddenSize],
  }),
};

/** GPT-NeoX and Pythia: q, k and v of all heads are one tensor. The file does not name the activation; theirs is GELU. */
const gptNeox: GgufArchitecture = {
  modelType: "gpt_neox",
  epsilonKey: "attention.layer_norm_epsilon",
  partialRope: true,
  activation: "gelu",
  layerNames: {
    input_layernorm: "attn_norm",
    "attention.query_key_value": "attn_qkv",
    "attention.dense": "attn_output",
    post_attention_layernorm: "ffn_norm",
    "mlp.dense_h_to_4h": "ffn_up",
    "mlp.dense_4h_to_h": "ffn_down",
  },
  globalNames: {
    "gpt_neox.embed_in": "token_embd",
    "gpt_neox.final_layer_norm": "output_norm",
    embed_out: "output",
  },
  biased: ["attn_norm", "attn_qkv", "attn_output", "ffn_norm", "ffn_up", "ffn_down", "output_norm"],
  shapes: ({ vocabSize, hiddenSize, intermediateSize, heads, headDim }) => ({
    "token_embd.weight": [vocabSize, hiddenSize],
    "blk.0.attn_qkv.weight": [3 * heads * headDim, hiddenSize],
    "blk.0.ffn_up.weight": [intermediateSize, hiddenSize],
  }),
};

/** By `general.architecture`. */
export const ggufArchitectures: Readonly<Record<string, GgufArchitecture>> = { llama, gptneox: gptNeox };

/** The architecture that a configuration was read for. */
export function ggufArchitectureOf({ modelType }: Pick<ModelConfig, "modelType">): GgufArchitecture {
  const found = Object.values(ggufArchitectures).find((architecture) => architecture.modelType === modelType);
  if (!found) throw new TypeError(`no GGUF architecture is ${modelType}`);
  return found;
}
