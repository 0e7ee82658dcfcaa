import type { Fields } from "../fields.ts";
import type { RopeScaling } from "../rope.ts";

/** Multiplied into what llama.cpp computes itself, and told by files of other kinds of models than these. */
const refusedFactors = ["attn_factor", "yarn_attn_factor", "yarn_ext_factor"];

/**
 * The metadata's `rope.scaling`. llama.cpp's yarn is transformers': both bound the ramp by whole components and multiply by
 * 0.1 ln(factor) + 1.
 * @throws ModelError "unsupported_config" naming the key
 */
export function readScaling(metadata: Fields, key: (name: string) => string): RopeScaling {
  // The older spelling.
  if (metadata.has(key("rope.scale_linear"))) {
    return { type: "linear", factor: metadata.positive(key("rope.scale_linear")) };
  }
  const scaling = (name: string) => key(`rope.scaling.${name}`);
  const type = metadata.choice(scaling("type"), ["none", "linear", "yarn"], "none");
  if (type === "none") return { type: "default" };
  const factor = metadata.positive(scaling("factor"));
  if (type === "linear") return { type, factor };
  for (const name of refusedFactors.map(scaling)) {
    if (metadata.has(name) && metadata.values[name] !== 1) metadata.refuse(name, "only 1 is supported");
  }
  const logMultiplier = scaling("yarn_log_multiplier");
  if (metadata.has(logMultiplier) && metadata.values[logMultiplier] !== 0) {
    metadata.refuse(logMultiplier, "only 0 is supported");
  }
  return {
    type,
    factor,
    originalMaxPositions: metadata.count(scaling("original_context_length"), metadata.count(key("context_length"))),
    betaFast: metadata.positive(scaling("yarn_beta_fast"), 32),
    betaSlow: metadata.positive(scaling("yarn_beta_slow"), 1),
    truncate: true,
  };
}
