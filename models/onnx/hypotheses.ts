import type { ModelConfig } from "../types.ts";
import { attribute, type Graph, intAttribute } from "./graph.ts";
import { type Layout, possibleLayouts } from "./layouts.ts";
import type { FoundAttention } from "./match.ts";

/** What an attention may be: to be refuted by experiment, or not. */
export interface Hypothesis {
  readonly layout: Layout;
  /** How many positions back a row sees, itself included; 0: all. */
  readonly window: number;
  /** Whether rope turns components (2i, 2i + 1) instead of (i, i + rotaryDim / 2). */
  readonly interleaved: boolean;
}

/**
 * All that is worth trying, likeliest first: the layouts that fit, the windows of the configuration and of the operator, and
 * the pairs of rope that operators in the graph say.
 * @throws ModelError as `possibleLayouts` does
 */
export function hypotheses(found: FoundAttention, config: ModelConfig, graph: Graph): Hypothesis[] {
  return possibleLayouts(found, config).flatMap((layout) =>
    possibleWindows(found, config).flatMap((window) =>
      possiblePairs(found, graph).map((interleaved) => ({ layout, window, interleaved })),
    ),
  );
}

function possibleWindows({ layer, core }: FoundAttention, { windows, maxPositions }: ModelConfig): number[] {
  const local = intAttribute(core, "local_window_size", -1);
  const said =
    attribute(core, "local_window_size") && local > 0 ? [local] : [windows?.[layer] ?? 0, ...(windows ?? [])];
  // Whether a window counts the row itself differs between versions of the operator, and of transformers; and exporters
  // have given all layers the window of some, or none.
  const proposed = [...said, ...said.filter((window) => window > 0).map((window) => window + 1), 0];
  return [...new Set(proposed.map((window) => (window < maxPositions ? window : 0)))];
}

function possiblePairs({ core }: FoundAttention, graph: Graph): boolean[] {
  if (intAttribute(core, "do_rotary", 0) === 1) return [intAttribute(core, "rotary_interleaved", 0) === 1];
  const ropes = graph.nodes.filter(({ opType }) => opType === "RotaryEmbedding");
  const said = new Set(ropes.map((node) => intAttribute(node, "interleaved", 0) === 1));
  return said.size > 0 ? [...said] : [false];
}
