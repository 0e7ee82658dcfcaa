import type { Measurement } from "../record/measurement.ts";
import type { BenchRecord } from "../record/record.ts";
import type { Figure } from "../report/figures.ts";
import { type SeriesChart, seriesChart } from "../report/series-chart.ts";
import { AGAINST_FIRST } from "./measurements.ts";

/** What pictures have along the x axis, where there is more than one value of it. */
const axes = [
  { x: "batch", xTitle: "sequences at the same time" },
  { x: "input", xTitle: "tokens of a prompt" },
] as const;

interface Picture {
  readonly id: string;
  readonly name: string;
  readonly caption: string;
  readonly y: string;
  readonly axes: readonly string[];
}

const pictures: readonly Picture[] = [
  { id: "output", name: "output tokens", caption: "Output tokens a second", y: "tokens/s", axes: ["batch", "input"] },
  {
    id: "ratio",
    name: AGAINST_FIRST,
    caption: "Speed against the first variant",
    y: "times",
    axes: ["batch", "input"],
  },
  // What a row reads does not depend on what else runs.
  {
    id: "bytes",
    name: "KV read for an output token",
    caption: "Read for an output token",
    y: "bytes",
    axes: ["input"],
  },
];

/** Speed, its ratio and bytes, over batches and over input lengths as far as the record has several; else over batches. */
export function throughputFigures({ measurements }: BenchRecord): Figure[] {
  const several = axes.filter(({ x }) => new Set(measurements.map(({ labels }) => labels[x])).size > 1);
  const drawn = several.length > 0 ? several : axes.slice(0, 1);
  return drawn.flatMap(({ x, xTitle }) =>
    pictures.flatMap(({ id, name, caption, y, axes: its }): Figure[] => {
      const own = measurements.filter((measurement) => measurement.name === name);
      if (own.length === 0 || !its.includes(x)) return [];
      const rule = name === AGAINST_FIRST ? { rule: 1 } : {};
      const chart: SeriesChart = { x, xTitle, y, seriesOf: (labels) => seriesOf(labels, x, own), logX: true, ...rule };
      return [{ id: `${id}-by-${x}`, caption, spec: seriesChart(own, chart) }];
    }),
  );
}

/** The variant, and what else differs among the figures beside `x`. */
function seriesOf(labels: Measurement["labels"], x: string, all: readonly Measurement[]): string {
  const differing = Object.keys(labels).filter((label) => {
    if (label === x || label === "variant") return false;
    return new Set(all.map((other) => other.labels[label])).size > 1;
  });
  return [labels.variant, ...differing.map((label) => `${label} ${labels[label]}`)].join(", ");
}
