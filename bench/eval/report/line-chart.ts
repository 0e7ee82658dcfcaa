import type { Spec } from "vega";

/** A value of a variant. */
export interface LinePoint {
  readonly variant: string;
  readonly x: number;
  readonly y: number;
}

export interface LineChart {
  readonly x: string;
  readonly y: string;
  /** For lengths, which double. */
  readonly logX?: boolean;
}

/** A line for each variant. */
export function lineChart(points: readonly LinePoint[], { x, y, logX = false }: LineChart): Spec {
  const places = [...new Set(points.map((point) => point.x))].sort((a, b) => a - b);
  return {
    width: 520,
    height: 240,
    padding: 8,
    data: [{ name: "points", values: [...points] }],
    scales: [
      logX
        ? { name: "x", type: "log", domain: { data: "points", field: "x" }, range: "width" }
        : { name: "x", type: "linear", domain: { data: "points", field: "x" }, range: "width" },
      { name: "y", type: "linear", domain: { data: "points", field: "y" }, range: "height", nice: true, zero: false },
      { name: "colour", type: "ordinal", domain: { data: "points", field: "variant" }, range: "category" },
    ],
    axes: [
      { orient: "bottom", scale: "x", title: x, format: "d", ...(logX ? { values: places } : { tickMinStep: 1 }) },
      { orient: "left", scale: "y", title: y, grid: true },
    ],
    legends: [{ stroke: "colour", symbolType: "stroke" }],
    marks: [
      {
        type: "group",
        from: { facet: { name: "series", data: "points", groupby: "variant" } },
        marks: [
          {
            type: "line",
            from: { data: "series" },
            encode: {
              enter: {
                x: { scale: "x", field: "x" },
                y: { scale: "y", field: "y" },
                stroke: { scale: "colour", field: "variant" },
                strokeWidth: { value: 2 },
              },
            },
          },
          {
            type: "symbol",
            from: { data: "series" },
            encode: {
              enter: {
                x: { scale: "x", field: "x" },
                y: { scale: "y", field: "y" },
                fill: { scale: "colour", field: "variant" },
                size: { value: 24 },
              },
            },
          },
        ],
      },
    ],
  };
}
