import type { Measurement } from "../record/measurement.ts";
import type { BenchRecord } from "../record/record.ts";
import type { Figure } from "../report/figures.ts";
import { seriesChart } from "../report/series-chart.ts";

const LATENCIES = ["TTFT", "TPOT", "ITL", "E2EL"];
const PERCENTILES: Readonly<Record<string, number>> = { median: 50, p90: 90, p99: 99 };

/** Of several loads, what becomes of latency and throughput; of one alone, its percentiles. */
export function serveFigures({ measurements }: BenchRecord): readonly Figure[] {
  const values = (name: "rate" | "concurrency") => new Set(measurements.map(({ labels }) => labels[name]));
  if (values("rate").size > 1) return loadFigures(measurements, "rate", "requests a second", "concurrency");
  if (values("concurrency").size > 1)
    return loadFigures(measurements, "concurrency", "requests at the same time", "rate");
  const points = latenciesOf(measurements).map((one) => {
    return { ...one, labels: { ...one.labels, percentile: PERCENTILES[one.labels.statistic!]!, name: one.name } };
  });
  const spec = seriesChart(points, {
    ...{ x: "percentile", xTitle: "percentile of requests (ITL: of intervals)", y: "milliseconds", logY: true },
    seriesOf: ({ name }) => String(name),
  });
  return [{ id: "latency", caption: "Latencies: medians of the rounds, with their intervals", spec }];
}

function loadFigures(measurements: readonly Measurement[], x: string, xTitle: string, other: string): Figure[] {
  const several = new Set(measurements.map(({ labels }) => labels[other])).size > 1;
  const suffix = (labels: Measurement["labels"]) => (several ? `, ${other} ${labels[other]}` : "");
  const latencies = LATENCIES.map((name): Figure => {
    const own = latenciesOf(measurements).filter((one) => one.name === name);
    const seriesOf = (labels: Measurement["labels"]) => `${labels.statistic}${suffix(labels)}`;
    const spec = seriesChart(own, { x, xTitle, y: "milliseconds", logX: true, logY: true, seriesOf });
    return { id: name.toLowerCase(), caption: `${name} by load`, spec };
  });
  const named = measurements
    .filter(({ name }) => name === "request throughput" || name === "goodput")
    .map((one) => ({ ...one, labels: { ...one.labels, name: one.name } }));
  const seriesOf = (labels: Measurement["labels"]) => `${labels.name}${suffix(labels)}`;
  const spec = seriesChart(named, { x, xTitle, y: "requests/s", logX: true, seriesOf });
  return [{ id: "throughput", caption: "Answers a second by load", spec }, ...latencies];
}

/** Those that a logarithm can show. */
function latenciesOf(measurements: readonly Measurement[]): Measurement[] {
  return measurements.filter(({ name, labels, interval, value }) => {
    return LATENCIES.includes(name) && String(labels.statistic) in PERCENTILES && (interval?.[0] ?? value) > 0;
  });
}
