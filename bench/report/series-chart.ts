import type { Spec } from "vega";
import type { Measurement } from "../record/measurement.ts";

/** A line for each series. */
export interface LineChart {
  readonly xTitle: string;
  readonly y: string;
  /** For lengths and batches, which double. */
  readonly logX?: boolean;
  readonly logY?: boolean;
  /** Whether 0 is on the y axis; default: it is. */
  readonly zero?: boolean;
  /** A line across: 1 for ratios. */
  readonly rule?: number;
  /** All series of a report, where one has the same colour in every picture; default: those that there are. */
  readonly colours?: readonly string[];
}

/** How measurements become a picture: one point each. */
export interface SeriesChart extends LineChart {
  /** The label along the x axis; its values are numbers. */
  readonly x: string;
  readonly seriesOf: (labels: Measurement["labels"]) => string;
}

/** With the measurements' intervals as bars. Those without the label are left out. */
export function seriesChart(measurements: readonly Measurement[], chart: SeriesChart): Spec {
  const points = measurements.flatMap(({ labels, value, interval }) => {
    const x = labels[chart.x];
    if (typeof x !== "number") return [];
    const [low, high] = interval ?? [value, value];
    return [{ series: chart.seriesOf(labels), x, y: value, low, high }];
  });
  return lineChart(points, chart);
}

export interface LinePoint {
  readonly series: string;
  readonly x: number;
  readonly y: number;
  /** Ends of a bar. */
  readonly low: number;
  readonly high: number;
}

export function lineChart(unsorted: readonly LinePoint[], chart: LineChart): Spec {
  const points = [...unsorted].sort((a, b) => a.x - b.x);
  const places = [...new Set(points.map(({ x }) => x))];
  const there = [...new Set(points.map(({ series }) => series))];
  const stroke = { scale: "colour", field: "series" };
  const x = { scale: "x", field: "x" };
  return {
    width: 520,
    height: 260,
    padding: 8,
    data: [{ name: "points", values: points }],
    scales: [
      { name: "x", type: chart.logX ? "log" : "linear", domain: { data: "points", field: "x" }, range: "width" },
      chart.logY
        ? { name: "y", type: "log", domain: { data: "points", fields: ["low", "high"] }, range: "height", nice: true }
        : {
            name: "y",
            type: "linear",
            domain: { data: "points", fields: ["low", "high"] },
            range: "height",
            nice: true,
            zero: chart.zero ?? true,
          },
      { name: "colour", type: "ordinal", domain: [...(chart.colours ?? there)], range: "category" },
    ],
    axes: [
      { orient: "bottom", scale: "x", title: chart.xTitle, format: ".12~g", values: places, labelOverlap: true },
      { orient: "left", scale: "y", title: chart.y, grid: true, ...(chart.logY ? { tickCount: 5, format: "~g" } : {}) },
    ],
    legends: [{ stroke: "colour", symbolType: "stroke", values: there }],
    marks: [
      ...(chart.rule === undefined ? [] : [ruleAt(chart.rule)]),
      {
        type: "rule",
        from: { data: "points" },
        encode: { enter: { x, y: { scale: "y", field: "low" }, y2: { scale: "y", field: "high" }, stroke } },
      },
      {
        type: "group",
        from: { facet: { name: "one", data: "points", groupby: "series" } },
        marks: [
          {
            type: "line",
            from: { data: "one" },
            encode: { enter: { x, y: { scale: "y", field: "y" }, stroke, strokeWidth: { value: 2 } } },
          },
        ],
      },
      {
        type: "symbol",
        from: { data: "points" },
        encode: { enter: { x, y: { scale: "y", field: "y" }, fill: stroke, size: { value: 28 } } },
      },
    ],
  };
}

function ruleAt(value: number) {
  return {
    type: "rule" as const,
    encode: {
      enter: {
        x: { value: 0 },
        x2: { field: { group: "width" } },
        y: { scale: "y", value },
        stroke: { value: "#888888" },
        strokeDash: { value: [4, 4] },
      },
    },
  };
}
