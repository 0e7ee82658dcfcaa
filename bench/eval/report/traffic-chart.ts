import type { Spec } from "vega";
import { familyOf, familyScale } from "../../report/chart.ts";
import type { EvalResult } from "../types.ts";

/** Values against bytes read over dense attention's, with error bars; what has no bytes is a line across. */
export function trafficChart(results: readonly EvalResult[]): Spec {
  const rows = [...results].sort(byBytes).map(({ variant, value, stderr, bytesRatio }, i) => ({
    variant,
    family: familyOf(variant),
    value,
    low: value - (stderr ?? 0),
    high: value + (stderr ?? 0),
    bytes: bytesRatio,
    // Above and below by turns: neighbours are often alike.
    labelOffset: i % 2 === 0 ? -6 : 14,
  }));
  const points = rows.filter(({ bytes }) => bytes !== null);
  const lines = rows.filter(({ bytes }) => bytes === null);
  const least = Math.min(0.1, ...points.map(({ bytes }) => bytes!));
  return {
    width: 520,
    height: 300,
    padding: 8,
    data: [
      { name: "points", values: points },
      { name: "lines", values: lines },
      { name: "all", values: rows },
    ],
    scales: [
      { name: "x", type: "log", domain: [least / 1.1, 1.25], range: "width" },
      {
        name: "y",
        type: "linear",
        domain: { data: "all", fields: ["low", "high"] },
        range: "height",
        nice: true,
        zero: false,
      },
      familyScale(results.map(({ variant }) => variant)),
    ],
    axes: [
      {
        orient: "bottom",
        scale: "x",
        title: "bytes read / dense",
        values: [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1].filter((tick) => tick >= least / 1.1),
        encode: { labels: { update: { text: { signal: "datum.value < 1 ? '1/' + round(1 / datum.value) : '1'" } } } },
        grid: true,
      },
      { orient: "left", scale: "y", title: results[0]?.metric ?? "", grid: true },
    ],
    marks: [
      {
        type: "rule",
        from: { data: "lines" },
        encode: {
          enter: {
            x: { value: 0 },
            x2: { field: { group: "width" } },
            y: { scale: "y", field: "value" },
            stroke: { scale: "colour", field: "family" },
            strokeDash: { value: [4, 4] },
          },
        },
      },
      {
        type: "rule",
        from: { data: "points" },
        encode: {
          enter: {
            x: { scale: "x", field: "bytes" },
            y: { scale: "y", field: "low" },
            y2: { scale: "y", field: "high" },
            stroke: { scale: "colour", field: "family" },
          },
        },
      },
      {
        type: "symbol",
        from: { data: "points" },
        encode: {
          enter: {
            x: { scale: "x", field: "bytes" },
            y: { scale: "y", field: "value" },
            fill: { scale: "colour", field: "family" },
            size: { value: 60 },
            tooltip: { field: "variant" },
          },
        },
      },
      label("points", { scale: "x", field: "bytes", offset: 6 }),
      label("lines", { value: 4 }),
    ],
  };
}

/** Each variant's name beside its point or on its line. */
function label(data: string, x: object) {
  return {
    type: "text" as const,
    from: { data },
    encode: {
      enter: {
        x,
        y: { scale: "y", field: "value", offset: { field: "labelOffset" } },
        text: { field: "variant" },
        fontSize: { value: 10 },
        fill: { scale: "colour", field: "family" },
      },
    },
  };
}

function byBytes(a: EvalResult, b: EvalResult): number {
  return (a.bytesRatio ?? 0) - (b.bytesRatio ?? 0);
}
