import type { Spec } from "vega";
import { familyOf, familyScale } from "../../report/chart.ts";
import { placeLabels } from "../../report/labels.ts";
import type { EvalResult } from "../types.ts";

const WIDTH = 520;
const HEIGHT = 300;
/** Values that differ by more than this are told apart on a logarithmic axis only. */
const WIDE = 30;

/** Values against bytes read over dense attention's, with error bars; what has no bytes is a line across. */
export function trafficChart(results: readonly EvalResult[]): Spec {
  const least = Math.min(...results.flatMap(({ value }) => (value > 0 ? value : [])));
  const logY =
    results.every(({ value }) => value >= 0) && Math.max(...results.map(({ value }) => value)) > WIDE * least;
  const rows = results
    // What is equal to dense attention has no place on such an axis.
    .filter(({ value }) => !logY || value > 0)
    .map(({ variant, value, stderr, bytesRatio }) => {
      const low = value - (stderr ?? 0);
      const shown = logY ? Math.max(low, value / 3) : low;
      return { variant, family: familyOf(variant), value, low: shown, high: value + (stderr ?? 0), bytes: bytesRatio };
    });
  const fewest = Math.min(0.1, ...rows.flatMap(({ bytes }) => bytes ?? []));
  const x = axis([fewest / 1.1, 1.25], WIDTH, true);
  const y = axis(margins(rows, logY), HEIGHT, logY);
  const dots = rows
    .flatMap((row) => (row.bytes === null ? [] : { ...row, bytes: row.bytes }))
    .sort((a, b) => a.bytes - b.bytes);
  const labels = placeLabels(
    dots.map(({ variant, bytes, value }) => ({ x: x.at(bytes), y: HEIGHT - y.at(value), text: variant })),
    WIDTH,
    HEIGHT,
  );
  return {
    width: WIDTH,
    height: HEIGHT,
    padding: 8,
    data: [
      { name: "points", values: dots.map((dot, i) => ({ ...dot, ...labels[i] })) },
      { name: "lines", values: rows.filter(({ bytes }) => bytes === null) },
    ],
    scales: [
      { name: "x", type: "log", domain: x.domain, range: "width" },
      logY
        ? { name: "y", type: "log", domain: y.domain, range: "height" }
        : { name: "y", type: "linear", domain: y.domain, range: "height", zero: false },
      familyScale(results.map(({ variant }) => variant)),
    ],
    axes: [
      {
        orient: "bottom",
        scale: "x",
        title: "bytes read / dense",
        values: [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1].filter((tick) => tick >= fewest / 1.1),
        encode: { labels: { update: { text: { signal: "datum.value < 1 ? '1/' + round(1 / datum.value) : '1'" } } } },
        grid: true,
      },
      { orient: "left", scale: "y", title: results[0]?.metric ?? "", grid: true, ...(logY ? { format: "~g" } : {}) },
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
      {
        type: "text",
        from: { data: "points" },
        encode: {
          enter: {
            x: { scale: "x", field: "bytes", offset: { field: "dx" } },
            y: { scale: "y", field: "value", offset: { field: "dy" } },
            baseline: { value: "middle" },
            text: { field: "variant" },
            fontSize: { value: 10 },
            fill: { scale: "colour", field: "family" },
          },
        },
      },
      {
        type: "text",
        from: { data: "lines" },
        encode: {
          enter: {
            x: { value: 4 },
            y: { scale: "y", field: "value", offset: -4 },
            text: { field: "variant" },
            fontSize: { value: 10 },
            fill: { scale: "colour", field: "family" },
          },
        },
      },
    ],
  };
}

/** An axis whose places are known before it is drawn, for labels. */
function axis(domain: [number, number], length: number, log: boolean) {
  const scaled = (value: number) => (log ? Math.log(value) : value);
  const [from, to] = domain.map(scaled) as [number, number];
  return { domain, at: (value: number) => ((scaled(value) - from) / (to - from)) * length };
}

/** From the least to the most that is shown, and a little more. */
function margins(rows: readonly { readonly low: number; readonly high: number }[], log: boolean): [number, number] {
  const low = Math.min(...rows.map((row) => row.low));
  const high = Math.max(...rows.map((row) => row.high));
  if (log) return [low / 1.3, high * 1.3];
  const margin = (high - low || Math.abs(high) || 1) / 20;
  return [low - margin, high + margin];
}
