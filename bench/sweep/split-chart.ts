import type { Spec } from "vega";

export interface Share {
  /** The bar that it is a part of. */
  readonly bar: string;
  readonly part: string;
  /** 0 to 1. */
  readonly share: number;
}

/** A bar for each, in their order, of parts one upon the other. Only parts that there are stand in the legend. */
export function splitChart(shares: readonly Share[], order: readonly string[]): Spec {
  const bars = [...new Set(shares.map(({ bar }) => bar))];
  const there = order.filter((part) => shares.some((share) => share.part === part));
  const values = bars.flatMap((bar) => {
    let from = 0;
    return there.flatMap((part) => {
      const share = shares.find((one) => one.bar === bar && one.part === part)?.share ?? 0;
      const piece = { bar, part, from, to: from + share };
      from = piece.to;
      return share > 0 ? [piece] : [];
    });
  });
  return {
    width: Math.max(240, 22 * bars.length),
    height: 260,
    padding: 8,
    data: [{ name: "pieces", values }],
    scales: [
      { name: "x", type: "band", domain: bars, range: "width", padding: 0.15 },
      { name: "y", type: "linear", domain: [0, 1], range: "height" },
      { name: "colour", type: "ordinal", domain: there, range: { scheme: "tableau20" } },
    ],
    axes: [
      { orient: "bottom", scale: "x", labelAngle: -90, labelAlign: "right", labelBaseline: "middle", labelLimit: 200 },
      { orient: "left", scale: "y", title: "share of the step", format: "%", grid: true },
    ],
    legends: [{ fill: "colour" }],
    marks: [
      {
        type: "rect",
        from: { data: "pieces" },
        encode: {
          enter: {
            x: { scale: "x", field: "bar" },
            width: { scale: "x", band: 1 },
            y: { scale: "y", field: "from" },
            y2: { scale: "y", field: "to" },
            fill: { scale: "colour", field: "part" },
          },
        },
      },
    ],
  };
}

export interface BytesPoint {
  readonly variant: string;
  /** Milliseconds, both. */
  readonly least: number;
  readonly measured: number;
}

/** Points on two equal scales, and the line on which both are the same. */
export function byBytesChart(points: readonly BytesPoint[]): Spec {
  const all = points.flatMap(({ least, measured }) => [least, measured]);
  const domain = [Math.min(...all) / 1.2, Math.max(...all) * 1.2];
  const axis = { scale: "x", tickCount: 5, format: "~g", grid: true } as const;
  return {
    width: 420,
    height: 420,
    padding: 8,
    data: [{ name: "points", values: [...points] }],
    scales: [
      { name: "x", type: "log", domain, range: "width" },
      { name: "y", type: "log", domain, range: "height" },
      { name: "colour", type: "ordinal", domain: { data: "points", field: "variant" }, range: "category" },
    ],
    axes: [
      { ...axis, orient: "bottom", title: "least time by bytes, ms" },
      { ...axis, scale: "y", orient: "left", title: "measured, ms" },
    ],
    legends: [{ fill: "colour", symbolType: "circle" }],
    marks: [
      {
        type: "rule",
        encode: {
          enter: {
            x: { value: 0 },
            y: { field: { group: "height" } },
            x2: { field: { group: "width" } },
            y2: { value: 0 },
            stroke: { value: "#888888" },
            strokeDash: { value: [4, 4] },
          },
        },
      },
      {
        type: "symbol",
        from: { data: "points" },
        encode: {
          enter: {
            x: { scale: "x", field: "least" },
            y: { scale: "y", field: "measured" },
            fill: { scale: "colour", field: "variant" },
            size: { value: 40 },
          },
        },
      },
    ],
  };
}
