import { attentionBiases, llama } from "./llama.ts";
import type { Architecture } from "./types.ts";
import { upperWindows } from "./windows.ts";

/** Qwen 3: each head of q and k is normalised before rope. */
export const qwen3: Architecture = {
  ...llama,
  defaultPositions: 32_768,
  defaultKvHeads: 32,
  defaultHeadDim: 128,
  defaultBos: [],
  defaultEos: [],
  biases: attentionBiases,
  windows: upperWindows,
  headNorms: ["self_attn.q_norm", "self_attn.k_norm"],
};
