import type { AttentionSettings, CacheDtype, ScanDtype } from "./types.ts";

/** The shape that defaults depend on. */
export interface AttentionShape {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

/**
 * How a server keeps its cache unless told otherwise. Measured on SmolLM2 against an f32 cache: see docs/decisions.md. The
 * keys that are scanned only choose positions and weigh what is left out.
 */
export const defaultCache: { readonly dtype: CacheDtype; readonly scanDtype: ScanDtype } = {
  dtype: "f16",
  scanDtype: "int8",
};

const INT32_MAX = 2 ** 31 - 1;

/** Ways to weigh answers against traffic, the default first; docs/accuracy.md has what each costs. */
export const attentionPresets = ["quality", "speed"] as const;
export type AttentionPreset = (typeof attentionPresets)[number];

/** What presets differ in: positions kept, at least and as a share of the context, and the context from which SparQ is used. */
const presets: Record<AttentionPreset, Required<Pick<AttentionSettings, "k" | "kShare" | "minContext">>> = {
  quality: { k: 512, kShare: 1 / 8, minContext: 3072 },
  speed: { k: 256, kShare: 0, minContext: 1024 },
};

/**
 * Settings for requests that name none: SparQ with a quarter of the query's components (at least 8) and the preset's positions,
 * a quarter of them the most recent. Mean-value reallocation follows the paper (arXiv 2312.04985v6, section 5): on
 * without grouped queries, off with them.
 */
export function defaultAttention(config: AttentionShape, preset: AttentionPreset = "quality"): AttentionSettings {
  return {
    mode: "sparq",
    r: Math.min(config.headDim, Math.max(8, Math.floor(config.headDim / 4))),
    local: presets[preset].k / 4,
    meanValue: config.heads === config.kvHeads,
    groupSum: "softmax",
    ...presets[preset],
  };
}

/**
 * The settings as the kernels take them: r at most headDim and local at most k, where more has no further meaning.
 * Throws RangeError, with the field and its value, for anything that is no count.
 */
export function clampAttention(settings: AttentionSettings, headDim: number): AttentionSettings {
  const k = count("k", settings.k, 1);
  return {
    ...settings,
    r: Math.min(count("r", settings.r, 1), headDim),
    k,
    local: Math.min(count("local", settings.local, 0), k),
  };
}

function count(field: string, value: number, least: number): number {
  if (Number.isInteger(value) && value >= least) return Math.min(value, INT32_MAX);
  throw new RangeError(`attention setting ${field} must be an integer of at least ${least}, got ${value}`);
}
