import { gemma } from "./gemma.ts";
import { gptNeox } from "./gpt-neox.ts";
import { llama } from "./llama.ts";
import { mistral } from "./mistral.ts";
import { phi3 } from "./phi3.ts";
import { qwen2 } from "./qwen2.ts";
import { qwen3 } from "./qwen3.ts";
import type { Architecture, ModelType } from "./types.ts";

/** The architecture of a checkpoint, which `parseConfig` knew. */
export function architectureOf({ modelType }: { readonly modelType: string }): Architecture {
  return architectures[modelType as ModelType];
}

/** By `model_type`. */
export const architectures: Readonly<Record<ModelType, Architecture>> = {
  llama,
  mistral,
  qwen2,
  qwen3,
  phi3,
  gemma,
  gpt_neox: gptNeox,
};
