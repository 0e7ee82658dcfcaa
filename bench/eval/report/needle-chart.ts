import type { Spec } from "vega";
import { mean } from "../../statistics.ts";
import type { EvalReport } from "../types.ts";

export interface NeedleCell {
  /** Of a prompt, on average. */
  readonly tokens: number;
  readonly depth: number;
  /** Share found. */
  readonly found: number;
  readonly n: number;
}

/** A variant's needle results by length and depth. */
export function needleCells({ sets, results }: Pick<EvalReport, "sets" | "results">, variant: string): NeedleCell[] {
  return sets.flatMap(({ task, tokens, promptTokens, depths }) => {
    const own = results.find(
      (result) => result.task === task && result.tokens === tokens && result.variant === variant,
    );
    if (depths === undefined || own === undefined) return [];
    return [...new Set(depths)].map((depth) => {
      const values = own.items.filter((_, i) => depths[i] === depth);
      return { tokens: tokens ?? promptTokens ?? 0, depth, found: mean(values), n: values.length };
    });
  });
}

/** Depth downwards, length to the right, the share found as colour and number. */
export function needleChart(cells: readonly NeedleCell[], title: string): Spec {
  const lengths = [...new Set(cells.map(({ tokens }) => tokens))].sort((a, b) => a - b);
  const depths = [...new Set(cells.map(({ depth }) => depth))].sort((a, b) => a - b);
  const place = {
    x: { scale: "x", field: "tokens" },
    y: { scale: "y", field: "depth" },
    width: { scale: "x", band: 1 },
    height: { scale: "y", band: 1 },
  };
  return {
    width: 56 * lengths.length,
    height: 26 * depths.length,
    padding: 8,
    title: { text: title, fontSize: 12 },
    data: [{ name: "cells", values: [...cells] }],
    scales: [
      { name: "x", type: "band", domain: lengths, range: "width" },
      { name: "y", type: "band", domain: depths, range: "height" },
      { name: "colour", type: "linear", domain: [0, 0.5, 1], range: ["#d1495b", "#f5e6a8", "#66a182"] },
    ],
    axes: [
      { orient: "bottom", scale: "x", title: "tokens" },
      { orient: "left", scale: "y", title: "depth", format: ".0%" },
    ],
    marks: [
      {
        type: "rect",
        from: { data: "cells" },
        encode: { enter: { ...place, fill: { scale: "colour", field: "found" } } },
      },
      {
        type: "text",
        from: { data: "cells" },
        encode: {
          enter: {
            x: { scale: "x", field: "tokens", band: 0.5 },
            y: { scale: "y", field: "depth", band: 0.5 },
            align: { value: "center" },
            baseline: { value: "middle" },
            fontSize: { value: 10 },
            text: { signal: "format(datum.found, '.0%')" },
          },
        },
      },
    ],
  };
}
