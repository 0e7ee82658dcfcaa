import { defaultAttention, defaultCache } from "../../attention/defaults.ts";
import {
  type AttentionSettings,
  type CacheDtype,
  cacheDtypes,
  type ScanDtype,
  scanDtypes,
} from "../../attention/types.ts";
import { type AttentionOverride, AttentionOverrideError, overrideAttention } from "../../server/attention-settings.ts";
import { Fields, VariantError } from "./variant-fields.ts";

/** How a variant keeps its cache. Variants of one layout share cached prompts, but where masses are kept. */
export interface CacheLayout {
  readonly dtype: CacheDtype;
  readonly scanDtype: ScanDtype;
  /** Masses of positions, which H2O ranks by, are kept: each prompt is then computed for one sequence alone. */
  readonly trackMass: boolean;
}

/** What variants depend on. */
export interface VariantShape {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

/** A way to attend, as it is named on the command line. */
export interface Variant {
  /** As it was given. */
  readonly name: string;
  readonly family: Family;
  readonly layout: CacheLayout;
  /** What is changed of a server's defaults for a prompt of so many tokens; null: nothing. */
  readonly override: (tokens: number, headDim: number) => AttentionOverride | null;
}

export const families = ["dense", "default", "sparq", "window", "exact", "random", "h2o", "onnx"] as const;
export type Family = (typeof families)[number];

/** The first positions that a window keeps unless it says otherwise: LM-Infinite's number in the SparQ paper. */
const SINKS = 16;

/** "dense,sparq:r=16,k=128,window:1/4" as its three variants: what has an equals sign belongs to the one before. */
export function parseVariants(text: string): Variant[] {
  const specs: string[] = [];
  for (const part of text.split(",").map((word) => word.trim())) {
    if (specs.length > 0 && /^[a-z]+=/.test(part)) specs.push(`${specs.pop()},${part}`);
    else specs.push(part);
  }
  const variants = specs.map(parseVariant);
  const twice = specs.find((spec, i) => specs.indexOf(spec) < i);
  if (twice !== undefined) throw new VariantError(`variant ${twice} is named twice`);
  return variants;
}

/** FAMILY, FAMILY:RATIO, or FAMILY:key=value,..., with cache= and scan= after any of them. */
export function parseVariant(name: string): Variant {
  const [family = "", ...rest] = name.split(":");
  if (!isFamily(family)) {
    throw new VariantError(`variant '${name}' must begin with one of ${families.join(", ")}`);
  }
  if (rest.length > 1) throw new VariantError(`variant ${name} has more than one colon`);
  const fields = new Fields(name, rest[0] ?? "");
  const layout = {
    dtype: fields.choice("cache", cacheDtypes) ?? defaultCache.dtype,
    scanDtype: fields.choice("scan", scanDtypes) ?? defaultCache.scanDtype,
    trackMass: family === "h2o",
  };
  const override = readers[family](fields);
  fields.end();
  return { name, family, layout, override };
}

/** A variant's settings for a prompt of so many tokens. Throws VariantError for what does not fit the model. */
export function settingsOf(
  { name, family, override }: Variant,
  tokens: number,
  shape: VariantShape,
): AttentionSettings {
  try {
    const settings = overrideAttention(defaultAttention(shape), override(tokens, shape.headDim), shape.headDim);
    // A server refuses this one.
    return family === "h2o" ? { ...settings, rank: "mass" } : settings;
  } catch (error) {
    if (error instanceof AttentionOverrideError) throw new VariantError(`variant ${name}: ${error.message}`);
    throw error;
  }
}

/** Variants that can share their prompts: one of a group computes them. In the order in which groups first occur. */
export function sharingGroups(variants: readonly Variant[]): Variant[][] {
  const groups = new Map<string, Variant[]>();
  for (const [i, variant] of variants.entries()) {
    const alone = variant.layout.trackMass || variant.family === "onnx";
    const key = `${layoutKey(variant.layout)}${alone ? ` ${i}` : ""}`;
    groups.set(key, [...(groups.get(key) ?? []), variant]);
  }
  return [...groups.values()];
}

/** Same layout, same key. */
export function layoutKey({ dtype, scanDtype, trackMass }: CacheLayout): string {
  return `${dtype} ${scanDtype}${trackMass ? " masses" : ""}`;
}

function isFamily(word: string): word is Family {
  return (families as readonly string[]).includes(word);
}

type Override = Variant["override"];

const readers: Readonly<Record<Family, (fields: Fields) => Override>> = {
  dense: () => () => ({ mode: "dense" }),
  onnx: () => () => ({ mode: "dense" }),
  default: () => () => null,
  sparq: readSparq,
  window: readWindow,
  exact: (fields) => readRanked(fields, "exact"),
  random: (fields) => readRanked(fields, "random"),
  h2o: readH2o,
};

/** RATIO c: r = c d and k = c S / 2, as the paper has it; or r and k. The local window is k / 4 unless it is given. */
function readSparq(fields: Fields): Override {
  const share = fields.ratio();
  const r = fields.count("r", 1);
  const k = fields.count("k", 1);
  if (share === undefined && (r === undefined || k === undefined)) {
    throw fields.error("needs a ratio, as in sparq:1/4, or both r and k");
  }
  const local = fields.count("local", 0);
  const mean = fields.choice("mean", ["on", "off"]);
  const sum = fields.choice("sum", ["softmax", "logits"]);
  const buckets = fields.choice("buckets", ["0", "1", "2", "4"]);
  const sinks = fields.count("sinks", 0);
  return (tokens, headDim) => ({
    mode: "sparq",
    r: r ?? Math.max(1, Math.round(headDim * share!)),
    k: k ?? Math.max(1, Math.round((tokens * share!) / 2)),
    ...(local === undefined ? {} : { local }),
    ...(mean === undefined ? {} : { mean_value: mean === "on" }),
    ...(sum === undefined ? {} : { group_sum: sum }),
    ...(buckets === undefined ? {} : { top_k_buckets: Number(buckets) as 0 | 1 | 2 | 4 }),
    ...(sinks === undefined ? {} : { sinks }),
    min_context: 0,
  });
}

/** The most recent positions and the first `sinks`, so many together. */
function readWindow(fields: Fields): Override {
  const kept = readKept(fields);
  const given = fields.count("sinks", 0);
  return (tokens) => {
    const k = kept(tokens);
    const sinks = given ?? Math.min(SINKS, k >> 1);
    return { mode: "sparq", rank: "none", k, sinks, local: Math.max(0, k - sinks), min_context: 0 };
  };
}

function readRanked(fields: Fields, rank: "exact" | "random"): Override {
  const kept = readKept(fields);
  const local = fields.count("local", 0);
  const sinks = fields.count("sinks", 0);
  return (tokens) => ({
    mode: "sparq",
    rank,
    k: kept(tokens),
    ...(local === undefined ? {} : { local }),
    ...(sinks === undefined ? {} : { sinks }),
    min_context: 0,
  });
}

/** Half of the positions are the most recent, half those with the most mass so far. */
function readH2o(fields: Fields): Override {
  const kept = readKept(fields);
  const local = fields.count("local", 0);
  return (tokens) => {
    const k = kept(tokens);
    return { mode: "sparq", rank: "none", k, local: local ?? k >> 1, min_context: 0 };
  };
}

/** A share of the positions, or a count of them. */
function readKept(fields: Fields): (tokens: number) => number {
  const share = fields.ratio();
  const k = fields.count("k", 1);
  if (share === undefined && k === undefined) throw fields.error("needs a ratio, as in :1/4, or k");
  return (tokens) => k ?? Math.max(1, Math.round(tokens * share!));
}
