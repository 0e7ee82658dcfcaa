import { defaultAttention, defaultCache } from "../../attention/defaults.ts";
import {
  type AttentionSettings,
  type CacheDtype,
  cacheDtypes,
  type ScanDtype,
  scanDtypes,
} from "../../attention/types.ts";

/** How a variant keeps its cache. Variants of one layout share cached prompts. */
export interface CacheLayout {
  readonly dtype: CacheDtype;
  readonly scanDtype: ScanDtype;
}

/** Same layout, same key. */
export function layoutKey({ dtype, scanDtype }: CacheLayout): string {
  return `${dtype} ${scanDtype}`;
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
  /** For a prompt of so many tokens. Throws RangeError for settings that do not fit the model. */
  settings(tokens: number, shape: VariantShape): AttentionSettings;
}

export const families = ["dense", "default", "sparq", "window", "onnx"] as const;
export type Family = (typeof families)[number];

/** A variant that cannot be; the message names it and what is wrong. */
export class VariantError extends Error {
  override readonly name = "VariantError";
}

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
  };
  const settings = readers[family](fields);
  fields.end();
  return { name, family, layout, settings };
}

function isFamily(word: string): word is Family {
  return (families as readonly string[]).includes(word);
}

type Settings = Variant["settings"];

const readers: Readonly<Record<Family, (fields: Fields) => Settings>> = {
  dense: () => (_tokens, shape) => ({ ...defaultAttention(shape), mode: "dense" }),
  default: () => (_tokens, shape) => defaultAttention(shape),
  onnx: () => (_tokens, shape) => ({ ...defaultAttention(shape), mode: "dense" }),
  sparq: readSparq,
  window: readWindow,
};

/** RATIO c: r = c d and k = c S / 2, as the paper has it; or r and k. The local window is k / 4 unless it is given. */
function readSparq(fields: Fields): Settings {
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
  return (tokens, shape) => {
    const base = defaultAttention(shape);
    const kept = k ?? Math.max(1, Math.round((tokens * share!) / 2));
    const components = r ?? Math.max(1, Math.round(shape.headDim * share!));
    if (components > shape.headDim) {
      throw fields.error(`has r = ${components}, over the head size ${shape.headDim}`);
    }
    if ((local ?? 0) > kept) throw fields.error(`has local = ${local}, over k, which is ${kept}`);
    return {
      ...base,
      mode: "sparq",
      r: components,
      k: kept,
      local: local ?? kept >> 2,
      meanValue: mean === undefined ? base.meanValue : mean === "on",
      groupSum: sum ?? base.groupSum,
      bucketTopK: Number(buckets ?? 0) as 0 | 1 | 2 | 4,
      minContext: 0,
    };
  };
}

/** RATIO c: the c S most recent positions; or k of them. */
function readWindow(fields: Fields): Settings {
  const kept = readKept(fields);
  return (tokens, shape) => {
    const k = kept(tokens);
    return { ...defaultAttention(shape), mode: "sparq", r: 1, k, local: k, meanValue: false, minContext: 0 };
  };
}

/** A share of the positions, or a count of them. */
function readKept(fields: Fields): (tokens: number) => number {
  const share = fields.ratio();
  const k = fields.count("k", 1);
  if (share === undefined && k === undefined) throw fields.error("needs a ratio, as in :1/4, or k");
  return (tokens) => k ?? Math.max(1, Math.round(tokens * share!));
}

/** What stands after a variant's colon. Each reader takes what it knows; `end` refuses the rest. */
class Fields {
  private readonly name: string;
  private readonly left = new Map<string, string>();

  constructor(name: string, text: string) {
    this.name = name;
    for (const part of text === "" ? [] : text.split(",")) {
      const [key = "", value] = part.includes("=") ? part.split("=") : ["", part];
      if (this.left.has(key)) throw this.error(`has ${key === "" ? "two ratios" : `${key} twice`}`);
      this.left.set(key, value ?? "");
    }
  }

  error(problem: string): VariantError {
    return new VariantError(`variant ${this.name} ${problem}`);
  }

  /** "1/4" or "0.25", over 0 and at most 1. */
  ratio(): number | undefined {
    const text = this.take("");
    if (text === undefined) return undefined;
    const [top, bottom = "1"] = text.split("/");
    const value = /^[\d.]+(\/[\d.]+)?$/.test(text) ? Number(top) / Number(bottom) : Number.NaN;
    if (!(value > 0 && value <= 1)) throw this.error(`has '${text}' where a ratio such as 1/4, at most 1, is wanted`);
    return value;
  }

  count(key: string, min: number): number | undefined {
    const text = this.take(key);
    if (text === undefined) return undefined;
    const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= min)) throw this.error(`has ${key}=${text}; it must be a whole number from ${min} on`);
    return value;
  }

  choice<T extends string>(key: string, allowed: readonly T[]): T | undefined {
    const text = this.take(key);
    if (text === undefined || allowed.includes(text as T)) return text as T | undefined;
    throw this.error(`has ${key}=${text}; it must be one of ${allowed.join(", ")}`);
  }

  end(): void {
    const [key] = this.left.keys();
    if (key !== undefined) throw this.error(`has ${key === "" ? `'${this.left.get("")}'` : key}, which it cannot have`);
  }

  private take(key: string): string | undefined {
    const text = this.left.get(key);
    this.left.delete(key);
    return text;
  }
}
