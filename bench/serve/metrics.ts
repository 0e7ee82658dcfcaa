import { mean, median, quantile } from "../statistics.ts";
import { type Expectation, faultOf } from "./check.ts";
import type { Objective } from "./option-values.ts";
import type { ClientHealth, Fault, LoadResult, Timeline } from "./timeline.ts";

/** Of one sound answer, in milliseconds; docs/benchmarks.md defines them. */
export interface RequestFigures {
  readonly ttft: number;
  /** Null for answers of one token. */
  readonly tpot: number | null;
  readonly itl: readonly number[];
  readonly e2el: number;
  readonly outputTokens: number;
}

export interface Distribution {
  readonly mean: number;
  readonly median: number;
  readonly p90: number;
  readonly p99: number;
}

export const latencyNames = ["ttft", "tpot", "itl", "e2el"] as const;
export type LatencyName = (typeof latencyNames)[number];

/** One load's round. Latencies and tokens are those of sound answers; what failed is counted beside them. */
export interface RoundFigures {
  readonly requests: number;
  readonly failures: readonly Fault[];
  /** From the load's beginning to the end of its last request. */
  readonly seconds: number;
  /** Sound answers a second; and those within the objective, null without one. */
  readonly requestThroughput: number;
  readonly goodput: number | null;
  readonly outputThroughput: number;
  /** Tokens of prompts and answers; null if the server does not count them. */
  readonly totalThroughput: number | null;
  readonly peakConcurrency: number;
  /** Requests that were sent a second time. */
  readonly resent: number;
  /** Null without an answer that has any. */
  readonly latencies: Readonly<Record<LatencyName, Distribution | null>>;
  /** Means of a request; null if the server does not tell. */
  readonly inputTokens: number | null;
  readonly cachedTokens: number | null;
  readonly outputTokens: number | null;
  readonly tokensPerDelta: number | null;
  /** 99th percentile of how much later than due requests were sent; null at a rate of Infinity. */
  readonly sentLate: number | null;
  readonly client: ClientHealth;
}

/** Of an answer that has choices. */
export function requestFigures({ sent, chunks, completionTokens, deltas }: Timeline): RequestFigures {
  const ttft = chunks[0]! - sent;
  const e2el = chunks.at(-1)! - sent;
  const outputTokens = completionTokens ?? deltas;
  const tpot = outputTokens > 1 ? (e2el - ttft) / (outputTokens - 1) : null;
  return { ttft, tpot, itl: chunks.slice(1).map((time, i) => time - chunks[i]!), e2el, outputTokens };
}

/** `expected` has an entry for each timeline. */
export function roundFigures(
  { timelines, client }: LoadResult,
  expected: readonly Expectation[],
  rate: number,
  objective: Objective | undefined,
): RoundFigures {
  const faults = timelines.map((timeline, i) => faultOf(timeline, expected[i]!));
  const sound = timelines.filter((_, i) => faults[i] === null);
  const figures = sound.map(requestFigures);
  const seconds = Math.max(...timelines.map(({ ended }) => ended)) / 1000;
  const good = objective === undefined ? null : figures.filter((one) => meets(one, objective)).length;
  const inputTokens = sumOf(sound.map(({ promptTokens }) => promptTokens));
  const outputTokens = sumOf(figures.map((one) => one.outputTokens))!;
  const counted = sound.every(({ completionTokens }) => completionTokens !== null);
  const deltas = sumOf(sound.map((one) => one.deltas))!;
  const each = (sum: number | null) => (sum === null || sound.length === 0 ? null : sum / sound.length);
  return {
    requests: timelines.length,
    failures: faults.filter((fault) => fault !== null),
    seconds,
    requestThroughput: sound.length / seconds,
    goodput: good === null ? null : good / seconds,
    outputThroughput: outputTokens / seconds,
    totalThroughput: inputTokens === null ? null : (inputTokens + outputTokens) / seconds,
    peakConcurrency: peakOf(timelines),
    resent: timelines.filter((one) => one.resent).length,
    latencies: {
      ttft: distribution(figures.map(({ ttft }) => ttft)),
      tpot: distribution(figures.flatMap(({ tpot }) => tpot ?? [])),
      itl: distribution(figures.flatMap(({ itl }) => itl)),
      e2el: distribution(figures.map(({ e2el }) => e2el)),
    },
    inputTokens: each(inputTokens),
    cachedTokens: each(sumOf(sound.map(({ cachedTokens }) => cachedTokens))),
    outputTokens: each(outputTokens),
    tokensPerDelta: counted && deltas > 0 ? outputTokens / deltas : null,
    sentLate:
      rate === Number.POSITIVE_INFINITY
        ? null
        : quantile(
            timelines.map(({ sent, due }) => sent - due),
            0.99,
          ),
    client,
  };
}

/** An answer of one token has no TPOT, and meets any objective for it. */
function meets({ ttft, tpot, e2el }: RequestFigures, objective: Objective): boolean {
  const { ttft: first = Infinity, tpot: each = Infinity, e2el: all = Infinity } = objective;
  return ttft <= first && (tpot ?? 0) <= each && e2el <= all;
}

function distribution(values: readonly number[]): Distribution | null {
  if (values.length === 0) return null;
  return { mean: mean(values), median: median(values), p90: quantile(values, 0.9), p99: quantile(values, 0.99) };
}

/** Null if one is unknown. */
function sumOf(values: readonly (number | null)[]): number | null {
  return values.reduce<number | null>((sum, value) => (sum === null || value === null ? null : sum + value), 0);
}

/** The most requests that were under way at one time; one that is sent when another ends takes its place. */
function peakOf(timelines: readonly Timeline[]): number {
  const changes = timelines.flatMap(({ sent, ended }) => [
    { time: sent, by: 1 },
    { time: ended, by: -1 },
  ]);
  changes.sort((a, b) => a.time - b.time || a.by - b.by);
  let now = 0;
  let peak = 0;
  for (const { by } of changes) {
    now += by;
    peak = Math.max(peak, now);
  }
  return peak;
}
