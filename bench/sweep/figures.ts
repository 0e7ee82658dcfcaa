import type { Measurement } from "../record/measurement.ts";
import type { BenchRecord } from "../record/record.ts";
import type { Figure } from "../report/figures.ts";
import { seriesChart } from "../report/series-chart.ts";
import { crossoversOf, describeCrossover, SPEEDUP } from "./crossover.ts";
import { Figures } from "./lookup.ts";
import { names } from "./measurements.ts";
import { parts } from "./parts.ts";
import { byBytesChart, splitChart } from "./split-chart.ts";

/** Of a list, so many at most: the first, the last, and what lies evenly between. */
const MOST = 3;

/** Time and ratio over the context, tokens over the batch, where the time goes, and what bytes explain of it. */
export function sweepFigures({ measurements }: BenchRecord): Figure[] {
  const { cells } = new Figures(measurements);
  const batches = spread([...new Set(cells.map(({ batch }) => batch))]);
  const contexts = spread([...new Set(cells.map(({ context }) => context))]);
  return [
    ...batches.flatMap((batch) => overContext(measurements, batch)),
    ...contexts.flatMap((context) => overBatch(measurements, context)),
    ...batches.map((batch) => split(measurements, batch)),
    byBytes(measurements),
  ];
}

const variantOf = (labels: Measurement["labels"]) => String(labels.variant);

function overContext(measurements: readonly Measurement[], batch: number): Figure[] {
  const over = {
    ...{ x: "context", xTitle: "positions in each cache", seriesOf: variantOf, logX: true },
    colours: new Figures(measurements).variants,
  };
  const of = (name: string) => measurements.filter((one) => one.name === name && one.labels.batch === batch);
  const [steps, ratios] = [of(names.step), of(SPEEDUP)];
  const pays = crossoversOf(ratios).map((one) => `${one.variant}: ${describeCrossover(one)}`);
  const figures: Figure[] = [];
  if (distinct(steps, "context") > 1) {
    const spec = seriesChart(steps, { ...over, y: "ms a step", logY: true });
    figures.push({ id: `time-batch-${batch}`, caption: `Decode step, batch ${batch}`, spec });
  }
  if (distinct(ratios, "context") > 1) {
    const caption = `Times faster than dense attention, batch ${batch}. ${pays.join(". ")}`;
    const spec = seriesChart(ratios, { ...over, y: "times faster", rule: 1 });
    figures.push({ id: `faster-batch-${batch}`, caption, spec });
  }
  return figures;
}

function overBatch(measurements: readonly Measurement[], context: number): Figure[] {
  const speeds = measurements.filter(({ name, labels }) => name === names.tokens && labels.context === context);
  if (distinct(speeds, "batch") < 2) return [];
  const over = {
    ...{ x: "batch", xTitle: "sequences", y: "tokens/s of all", seriesOf: variantOf, logX: true },
    colours: new Figures(measurements).variants,
  };
  const caption = `Tokens a second, context ${context}`;
  return [{ id: `tokens-context-${context}`, caption, spec: seriesChart(speeds, over) }];
}

function split(measurements: readonly Measurement[], batch: number): Figure {
  const own = measurements.filter(({ name, labels }) => name === names.part && labels.batch === batch);
  const totals = new Map<string, number>();
  const barOf = ({ labels }: Measurement) => `${labels.context} ${labels.variant}`;
  for (const one of own) totals.set(barOf(one), (totals.get(barOf(one)) ?? 0) + one.value);
  const shares = own.map((one) => ({
    bar: barOf(one),
    part: String(one.labels.part),
    share: one.value / totals.get(barOf(one))!,
  }));
  const caption = `Where a step's time goes, batch ${batch}: shares, by context and variant`;
  return { id: `split-batch-${batch}`, caption, spec: splitChart(shares, parts) };
}

function byBytes(measurements: readonly Measurement[]): Figure {
  const figures = new Figures(measurements);
  const points = figures.cells.flatMap(({ context, batch }) =>
    figures.variants.flatMap((variant) => {
      const labels = { variant, context, batch };
      const [least, step] = [figures.of(names.least, labels), figures.of(names.step, labels)];
      return least && step ? [{ variant, least: least.value, measured: step.value }] : [];
    }),
  );
  const caption =
    "Measured time and the least that reading the step's bytes takes, all cells; on the line they are equal";
  return { id: "bytes", caption, spec: byBytesChart(points) };
}

function distinct(measurements: readonly Measurement[], label: string): number {
  return new Set(measurements.map(({ labels }) => labels[label])).size;
}

function spread(values: readonly number[]): number[] {
  const sorted = [...values].sort((a, b) => a - b);
  const count = Math.min(MOST, sorted.length);
  const last = sorted.length - 1;
  return Array.from({ length: count }, (_, i) => sorted[count === 1 ? 0 : Math.round((i * last) / (count - 1))]!);
}
