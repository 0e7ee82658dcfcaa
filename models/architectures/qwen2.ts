import { llama } from "./llama.ts";
import type { Architecture } from "./types.ts";
import { upperWindows } from "./windows.ts";

/** Qwen 2 and 2.5: biases on q, k and v, always. */
export const qwen2: Architecture = {
  ...llama,
  defaultPositions: 32_768,
  defaultKvHeads: 32,
  defaultBos: [],
  defaultEos: [],
  biases: () => ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
  windows: upperWindows,
};
