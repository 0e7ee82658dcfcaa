import type { AttentionSettings, Rank } from "../attention/types.ts";

/** What a flag or a request may say about attention; null and absent leave it to the base settings. */
export interface AttentionOverride {
  readonly mode?: AttentionSettings["mode"] | null | undefined;
  readonly r?: number | null | undefined;
  readonly k?: number | null | undefined;
  readonly local?: number | null | undefined;
  readonly mean_value?: boolean | null | undefined;
  readonly group_sum?: AttentionSettings["groupSum"] | null | undefined;
  readonly min_context?: number | null | undefined;
  readonly k_share?: number | null | undefined;
  readonly top_k_buckets?: AttentionSettings["bucketTopK"] | null;
  readonly rank?: Rank | null | undefined;
  readonly sinks?: number | null | undefined;
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
 * Another rank than SparQ's comes without mean value and buckets. Throws AttentionOverrideError if r is over the head size,
 * local over k or sinks over what is left, and for what does not go with a rank.
 */
export function overrideAttention(
  base: AttentionSettings,
  override: AttentionOverride | null | undefined,
  headDim: number,
): AttentionSettings {
  if (!override) return base;
  // Who asks for SparQ by name or number gets it, also where it is no faster.
  const asked = override.mode === "sparq" || (override.r ?? override.k ?? override.rank ?? override.sinks) != null;
  const r = override.r ?? base.r;
  const k = override.k ?? base.k;
  const local = override.local ?? (override.k ? Math.floor(k / 4) : base.local);
  if (r > headDim) throw new AttentionOverrideError("r", `r is ${r}, over the head size ${headDim}`);
  if (local > k) throw new AttentionOverrideError("local", `local is ${local}, over k, which is ${k}`);
  const rank = override.rank ?? base.rank ?? "sparq";
  const sinks = override.sinks ?? base.sinks ?? 0;
  if (sinks + local > k) {
    throw new AttentionOverrideError("sinks", `sinks is ${sinks} and local ${local}, together over k, which is ${k}`);
  }
  if (rank === "mass") {
    const message = `rank "mass" needs the masses of the whole prompt, which a server does not keep`;
    throw new AttentionOverrideError("rank", message);
  }
  const meanValue = override.mean_value ?? (rank === "sparq" && base.meanValue);
  if (meanValue && (rank === "none" || rank === "random")) {
    const message = `mean_value is true, which rank "${rank}" cannot have: it does not estimate the mass that it leaves out`;
    throw new AttentionOverrideError("mean_value", message);
  }
  const bucketTopK = override.top_k_buckets ?? (rank === "sparq" ? (base.bucketTopK ?? 0) : 0);
  if (bucketTopK > 0 && rank !== "sparq") {
    throw new AttentionOverrideError("top_k_buckets", `top_k_buckets is ${bucketTopK}, must be 0 with rank "${rank}"`);
  }
  return {
    mode: override.mode ?? base.mode,
    r,
    k,
    local,
    meanValue,
    groupSum: override.group_sum ?? base.groupSum,
    // Who names k gets just that.
    kShare: override.k_share ?? (override.k == null ? (base.kShare ?? 0) : 0),
    minContext: override.min_context ?? (asked ? 0 : (base.minContext ?? 0)),
    bucketTopK,
    rank,
    sinks,
  };
}
