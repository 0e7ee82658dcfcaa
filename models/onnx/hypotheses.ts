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
  /** What products of queries and keys are multiplied by: 1/sqrt(head dim), or that with constants rounded to narrow floats. */
  readonly scale: number;
}

/**
 * All that is worth trying, likeliest first: the layouts that fit, the windows of the configuration and of the operator, and
 * the pairs of rope that operators in the graph say.
 * @throws ModelError as `possibleLayouts` does
 */
export function hypotheses(found: FoundAttention, config: ModelConfig, graph: Graph): Hypothesis[] {
  return possibleLayouts(found, config).flatMap((layout) =>
    possibleWindows(found, config).flatMap((window) =>
      possiblePairs(found, graph).flatMap((interleaved) =>
        possibleScales(config).map((scale) => ({ layout, window, interleaved, scale })),
      ),
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

/** A graph that is float16 or bfloat16, or was once, has the scale, or its root on both sides, or what is divided by, rounded to that. */
function possibleScales({ headDim }: ModelConfig): number[] {
  const exact = 1 / Math.sqrt(headDim);
  const rounded = [10, 7].flatMap((bits) => {
    const round = (value: number) => toFraction(value, bits);
    const roots = [exact, round(exact)].map((scale) => round(Math.sqrt(scale)) ** 2);
    return [round(exact), ...roots, 1 / round(Math.sqrt(headDim)), 1 / round(headDim ** 0.25) ** 2];
  });
  return [...new Set([exact, ...rounded])];
}

/** The nearest number with so many bits behind the leading one. */
function toFraction(value: number, bits: number): number {
  const step = 2 ** (Math.floor(Math.log2(value)) - bits);
  return Math.round(value / step) * step;
}

function possiblePairs({ core }: FoundAttention, graph: Graph): boolean[] {
  if (intAttribute(core, "do_rotary", 0) === 1) return [intAttribute(core, "rotary_interleaved", 0) === 1];
  const ropes = graph.nodes.filter(({ opType }) => opType === "RotaryEmbedding");
  const said = new Set(ropes.map((node) => intAttribute(node, "interleaved", 0) === 1));
  return said.size > 0 ? [...said] : [false];
}
