import type { AttentionSettings } from "../attention/types.ts";

/** What a flag or a request may say about attention; null and absent leave it to the base settings. */
export interface AttentionOverride {
  readonly mode?: AttentionSettings["mode"] | null | undefined;
  readonly r?: number | null | undefined;
  readonly k?: number | null | undefined;
  readonly local?: number | null | undefined;
  readonly mean_value?: boolean | null | undefined;
  readonly group_sum?: AttentionSettings["groupSum"] | null | undefined;
  readonly min_context?: number | null | undefined;
  readonly top_k_buckets?: AttentionSettings["bucketTopK"] | null;
}

/** A value that the model cannot use; `field` is the override's. */
export class AttentionOverrideError extends Error {
  override readonly name = "AttentionOverrideError";
  readonly field: keyof AttentionOverride;

  constructor(field: keyof AttentionOverride, message: string) {
    super(message);
    this.field = field;
  }
}

/**
 * `base` with what `override` says. A new k brings its own local window, k / 4, unless one is given (SparQ paper, l = k/4).
 * Throws AttentionOverrideError if r is over the head size or local over k.
 */
export function overrideAttention(
  base: AttentionSettings,
  override: AttentionOverride | null | undefined,
  headDim: number,
): AttentionSettings {
  if (!override) return base;
  // Who asks for SparQ by name or number gets it, also where it is no faster.
  const asked = override.mode === "sparq" || (override.r ?? override.k) != null;
  const r = override.r ?? base.r;
  const k = override.k ?? base.k;
  const local = override.local ?? (override.k ? Math.floor(k / 4) : base.local);
  if (r > headDim) throw new AttentionOverrideError("r", `r is ${r}, over the head size ${headDim}`);
  if (local > k) throw new AttentionOverrideError("local", `local is ${local}, over k, which is ${k}`);
  return {
    mode: override.mode ?? base.mode,
    r,
    k,
    local,
    meanValue: override.mean_value ?? base.meanValue,
    groupSum: override.group_sum ?? base.groupSum,
    minContext: override.min_context ?? (asked ? 0 : (base.minContext ?? 0)),
    bucketTopK: override.top_k_buckets ?? base.bucketTopK ?? 0,
  };
}
