import { attentionAt } from "../attention/at-context.ts";
import { defaultAttention, defaultCache } from "../attention/defaults.ts";
import type { AttentionSettings, KvStoreShape } from "../attention/types.ts";
import type { ModelConfig } from "../models/types.ts";
import { AttentionOverrideError, overrideAttention } from "../server/attention-settings.ts";
import { OptionError } from "../server/config.ts";
import type { ModelBenchOptions, ModelOptions } from "./options.ts";

/** The model's default settings with what the flags say. Throws OptionError for what the model cannot use. */
export function attentionOf(config: ModelConfig, { r, k, local }: ModelBenchOptions): AttentionSettings {
  try {
    return overrideAttention(defaultAttention(config), { r, k, local }, config.headDim);
  } catch (error) {
    if (!(error instanceof AttentionOverrideError)) throw error;
    throw new OptionError(error.field, { r, k, local }[error.field as "r" | "k" | "local"], error.message);
  }
}

/** "sparq r 16 k 256" */
export function describeAttention({ mode, r, k }: AttentionSettings): string {
  return mode === "dense" ? "dense" : `sparq r ${r} k ${k}`;
}

/**
 * How a server with these settings decodes behind `context` positions, and what that is called: benchmarks that step a session do
 * not have the engine, which sees to it.
 */
export function served(settings: AttentionSettings, context: number): { attention: AttentionSettings; mode: string } {
  const { attention } = attentionAt(settings, context + 1);
  const switched = attention.mode !== settings.mode;
  return { attention, mode: switched ? `dense below ${settings.minContext}` : describeAttention(attention) };
}

/** How the cache is kept: what the flags say, else as `sparq serve` does. */
export function cacheOf(options: ModelOptions): Required<Pick<KvStoreShape, "dtype" | "scanDtype">> {
  const { kvDtype = defaultCache.dtype, scanDtype = defaultCache.scanDtype } = options;
  return { dtype: kvDtype, scanDtype };
}
