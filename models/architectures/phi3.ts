import { llama } from "./llama.ts";
import type { Architecture } from "./types.ts";
import { sameWindow } from "./windows.ts";

/** Phi-3, 3.5 and 4 (mini too): q, k and v in one matrix, gate and up in another. */
export const phi3: Architecture = {
  ...llama,
  defaultNormEps: 1e-5,
  defaultPositions: 4096,
  defaultEos: [32_000],
  biases: () => [],
  windows: (fields, layers) => sameWindow(fields, layers, null),
  names: { ...llama.names, projections: ["self_attn.qkv_proj"], widen: ["mlp.gate_up_proj"] },
};
