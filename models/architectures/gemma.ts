import { attentionBiases, llama } from "./llama.ts";
import type { Architecture } from "./types.ts";

/** Gemma 1: embeddings times the root of their width, norms that store their weights less 1, a gate of GELU. */
export const gemma: Architecture = {
  ...llama,
  // Its files say "gelu" and have always meant the approximation; `hidden_activation` is what says something else.
  activations: { gelu_pytorch_tanh: "gelu_tanh", gelu: "gelu_tanh", gelu_new: "gelu_tanh" },
  defaultActivation: "gelu_pytorch_tanh",
  defaultBos: [2],
  defaultEos: [1],
  defaultPositions: 8192,
  defaultHeadDim: 256,
  defaultKvHeads: 16,
  tiedByDefault: true,
  biases: attentionBiases,
  norm: "rms1",
  embeddingScale: Math.sqrt,
};
