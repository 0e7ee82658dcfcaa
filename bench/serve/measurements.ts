import { type Measurement, measured } from "../record/measurement.ts";
import type { BenchRecord } from "../record/record.ts";
import { type LoadRounds, labelsOf, nameOf } from "./loads.ts";
import { type LatencyName, latencyNames, type RoundFigures } from "./metrics.ts";

type Figure = Pick<Measurement, "name" | "unit" | "better"> & {
  readonly of: (round: RoundFigures) => number | null;
  readonly labels?: Readonly<Record<string, string>>;
};

export const statistics = ["mean", "median", "p90", "p99"] as const;
export const titles: Readonly<Record<LatencyName, string>> = { ttft: "TTFT", tpot: "TPOT", itl: "ITL", e2el: "E2EL" };

const higher = { better: "higher" } as const;
const neither = { better: null } as const;

const figures: readonly Figure[] = [
  { name: "request throughput", unit: "requests/s", ...higher, of: (round) => round.requestThroughput },
  { name: "goodput", unit: "requests/s", ...higher, of: (round) => round.goodput },
  { name: "output throughput", unit: "tokens/s", ...higher, of: (round) => round.outputThroughput },
  { name: "total throughput", unit: "tokens/s", ...higher, of: (round) => round.totalThroughput },
  ...latencyNames.flatMap((name) =>
    statistics.map((statistic): Figure => {
      const labels = { statistic };
      return {
        name: titles[name],
        labels,
        unit: "ms",
        better: "lower",
        of: (round) => round.latencies[name]?.[statistic] ?? null,
      };
    }),
  ),
  { name: "failed requests", unit: "requests", better: "lower", of: (round) => round.failures.length },
  { name: "peak concurrency", unit: "requests", ...neither, of: (round) => round.peakConcurrency },
  { name: "input tokens", unit: "tokens/request", ...neither, of: (round) => round.inputTokens },
  { name: "cached input tokens", unit: "tokens/request", ...neither, of: (round) => round.cachedTokens },
  { name: "output tokens", unit: "tokens/request", ...neither, of: (round) => round.outputTokens },
  { name: "tokens of a piece of text", unit: "tokens", ...neither, of: (round) => round.tokensPerDelta },
  { name: "sent late, p99", unit: "ms", ...neither, of: (round) => round.sentLate },
  { name: "client lag, p99", unit: "ms", ...neither, of: (round) => round.client.lagP99 },
  { name: "client processor time", unit: "s", ...neither, of: (round) => round.client.cpuSeconds },
];

/** What a figure may lack without a word: it was not asked for, or there is none of it. */
const optional = ["goodput", "sent late, p99", "cached input tokens"];

/** A record's figures; one that a round has not is left out, and why. */
export function measurementsOf(loads: readonly LoadRounds[]): Pick<BenchRecord, "measurements" | "skipped"> {
  const measurements: Measurement[] = [];
  const skipped: { what: string; reason: string }[] = [];
  for (const { load, rounds } of loads) {
    for (const { of, labels, ...figure } of figures) {
      const values = rounds.map(of);
      const known = values.filter((value) => value !== null);
      if (known.length === values.length)
        measurements.push(measured({ ...figure, labels: { ...labelsOf(load), ...labels } }, known));
      else if (!optional.includes(figure.name)) {
        const what = `${[figure.name, ...Object.values(labels ?? {})].join(" ")} at ${nameOf(load)}`;
        skipped.push({ what, reason: `${values.length - known.length} of ${values.length} rounds have none` });
      }
    }
    for (const { kind, times, detail } of failuresOf(rounds)) {
      const all = rounds.reduce((sum, { requests }) => sum + requests, 0);
      skipped.push({ what: `${times} of ${all} requests at ${nameOf(load)}`, reason: `${kind}: ${detail}` });
    }
  }
  return { measurements, skipped };
}

/** Failures by kind, the most frequent first, each with the particulars of the first one. */
export function failuresOf(rounds: readonly RoundFigures[]): { kind: string; times: number; detail: string }[] {
  const kinds = new Map<string, { kind: string; times: number; detail: string }>();
  for (const { kind, detail } of rounds.flatMap(({ failures }) => failures)) {
    const known = kinds.get(kind) ?? { kind, times: 0, detail };
    known.times += 1;
    kinds.set(kind, known);
  }
  return [...kinds.values()].sort((a, b) => b.times - a.times);
}
