import { defaultAttention } from "../../../attention/defaults.ts";
import { BLOCK_SIZE } from "../../../attention/session.ts";
import type { AttentionSettings, KvStoreShape } from "../../../attention/types.ts";
import type { ModelConfig } from "../../../models/types.ts";

/** What the variants of a group differ in. */
export const groups = ["dtype", "scan", "cache", "buckets", "page", "rk", "rules"] as const;
export type Group = (typeof groups)[number];

/** How the cache of a session is kept. */
export type Layout = Required<Pick<KvStoreShape, "dtype" | "scanDtype" | "blockSize">>;

/** A way to keep the cache and to attend. */
export interface Variant {
  readonly name: string;
  readonly group: Group;
  readonly layout: Layout;
  readonly attention: AttentionSettings;
}

const exact: Layout = { dtype: "f32", scanDtype: "f32", blockSize: BLOCK_SIZE };

/** What everything is compared with. */
export function denseReference(config: ModelConfig): Variant {
  return {
    name: "dense, f32",
    group: "dtype",
    layout: exact,
    attention: { ...defaultAttention(config), mode: "dense" },
  };
}

/** What approximations within SparQ are compared with besides: r and k of the preset "speed", with nothing else approximate. */
export function sparqReference(config: ModelConfig): Variant {
  return { name: "scan f32", group: "scan", layout: exact, attention: sparqOf(config) };
}

function sparqOf(config: ModelConfig): AttentionSettings {
  return { ...defaultAttention(config, "speed"), minContext: 0 };
}

/**
 * All variants of the groups that make sense for this model at this context, the references not among them. Those with
 * the same layout can share a session.
 */
export function variantsOf(config: ModelConfig, context: number, wanted: readonly Group[]): Variant[] {
  const sparq = sparqOf(config);
  const dense = { ...sparq, mode: "dense" } as const;
  const low = ["f16", "bf16", "int8", "fp8"] as const;
  const variants: Variant[] = [];
  const add = (group: Group, name: string, layout: Partial<Layout>, attention: AttentionSettings) => {
    if (wanted.includes(group)) variants.push({ group, name, layout: { ...exact, ...layout }, attention });
  };
  for (const dtype of low) add("dtype", `dense, ${dtype}`, { dtype, scanDtype: "int8" }, dense);
  for (const scanDtype of ["bf16", "f16", "int8"] as const) add("scan", `scan ${scanDtype}`, { scanDtype }, sparq);
  for (const dtype of low) add("cache", `${dtype}, scan int8`, { dtype, scanDtype: "int8" }, sparq);
  for (const bucketTopK of [4, 2, 1] as const)
    add("buckets", `${bucketTopK} of each bucket`, {}, { ...sparq, bucketTopK });
  for (const blockSize of [64, 128, 256])
    add("page", `pages of ${blockSize}, scan int8`, { scanDtype: "int8", blockSize }, sparq);
  for (const r of [8, 16, 32].filter((r) => r <= config.headDim)) {
    for (const k of [64, 128, 256, 512].filter((k) => k < context)) {
      add("rk", `r ${r}, k ${k}`, {}, { ...sparq, r, k, local: k / 4 });
    }
  }
  add("rules", `mean value ${sparq.meanValue ? "off" : "on"}`, {}, { ...sparq, meanValue: !sparq.meanValue });
  if (config.heads > config.kvHeads) add("rules", "groups summed as logits", {}, { ...sparq, groupSum: "logits" });
  return variants;
}
