import type { Measurement } from "../record/measurement.ts";
import type { BenchRecord } from "../record/record.ts";
import type { Figure } from "../report/figures.ts";
import { seriesChart } from "../report/series-chart.ts";
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

/**
 * Over batches, and over input lengths, as far as the record has several; else over batches. What has several of both gets a
 * picture for each of the other's.
 */
export function throughputFigures({ measurements }: BenchRecord): Figure[] {
  const valuesOf = (label: string) => [...new Set(measurements.map(({ labels }) => labels[label]))];
  const several = axes.filter(({ x }) => valuesOf(x).length > 1);
  const drawn = several.length > 0 ? several : axes.slice(0, 1);
  return drawn.flatMap(({ x, xTitle }) =>
    pictures.flatMap((picture) => {
      if (!picture.axes.includes(x)) return [];
      const chart = { x, xTitle, y: picture.y, seriesOf: variantOf, logX: true };
      const rule = picture.name === AGAINST_FIRST ? { rule: 1 } : {};
      const own = measurements.filter(({ name }) => name === picture.name);
      const other = axes.find((axis) => axis.x !== x)!.x;
      // Bytes do not depend on the batch: those of one are all.
      const panels = picture.axes.includes(other) ? valuesOf(other) : valuesOf(other).slice(0, 1);
      return panels.flatMap((panel): Figure[] => {
        const points = own.filter(({ labels }) => labels[other] === panel);
        if (points.length === 0) return [];
        const spec = seriesChart(points, { ...chart, ...rule });
        if (panels.length === 1) return [{ id: `${picture.id}-by-${x}`, caption: picture.caption, spec }];
        return [
          { id: `${picture.id}-by-${x}-${other}-${panel}`, caption: `${picture.caption}, ${other} ${panel}`, spec },
        ];
      });
    }),
  );
}

function variantOf({ variant }: Measurement["labels"]): string {
  return String(variant);
}
