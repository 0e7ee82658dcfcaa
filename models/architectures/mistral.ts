import { llama } from "./llama.ts";
import type { Architecture } from "./types.ts";
import { sameWindow } from "./windows.ts";

/** Mistral 7B and Nemo: a llama whose layers may all see a window only. */
export const mistral: Architecture = {
  ...llama,
  defaultPositions: 131_072,
  defaultKvHeads: 8,
  biases: () => [],
  windows: (fields, layers) => sameWindow(fields, layers, 4096),
};
