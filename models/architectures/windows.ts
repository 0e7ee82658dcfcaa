import type { Fields } from "../fields.ts";

/** `sliding_window` for every layer; null is none, an absent one the fallback. */
export function sameWindow(fields: Fields, layers: number, fallback: number | null): number[] {
  return new Array<number>(layers).fill(windowOf(fields, fallback));
}

/** Qwen's: off unless `use_sliding_window`, then from layer `max_window_layers` on; `layer_types` says it layer by layer. */
export function upperWindows(fields: Fields, layers: number): number[] {
  const window = fields.boolean("use_sliding_window", false) ? windowOf(fields, 4096) : 0;
  const types = fields.values.layer_types;
  if (types === undefined || types === null) {
    const full = fields.has("max_window_layers") ? Number(fields.values.max_window_layers) : 28;
    if (!Number.isSafeInteger(full) || full < 0) fields.refuse("max_window_layers", "it must be an integer >= 0");
    return Array.from({ length: layers }, (_, layer) => (layer >= full ? window : 0));
  }
  if (!Array.isArray(types) || types.length !== layers) {
    fields.refuse("layer_types", `it must be a list of ${layers}, one for each layer`);
  }
  return types.map((type) => {
    if (type === "full_attention") return 0;
    if (type === "sliding_attention" && window > 0) return window;
    return fields.refuse("layer_types", "supported: full_attention, and sliding_attention with a sliding_window");
  });
}

function windowOf(fields: Fields, fallback: number | null): number {
  const value = fields.values.sliding_window === undefined ? fallback : fields.values.sliding_window;
  return value === null ? 0 : fields.count("sliding_window", fallback ?? undefined);
}
