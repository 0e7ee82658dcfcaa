import type { Traffic } from "../../attention/types.ts";
import { type Measurement, measured, ratioOf } from "../record/measurement.ts";
import { quantile } from "../statistics.ts";
import type { OfflineRun } from "./offline.ts";

/** A workload in one variant and batch, round after round. */
export interface Case {
  readonly labels: Measurement["labels"];
  readonly runs: readonly OfflineRun[];
  /** Of the rows behind prompts, whenever they run. */
  readonly traffic: Traffic;
  /** The first variant's rounds; null for those themselves. */
  readonly reference: readonly OfflineRun[] | null;
}

/** Requests a second, round by round. */
export const AGAINST_FIRST = "speed against the first variant";

/** Of the time that the threads could have computed: what is missing, others had. */
export const PROCESSOR_TIME = "processor time";

type Figure = readonly [
  name: string,
  unit: string,
  better: Measurement["better"],
  of: (run: OfflineRun, requests: number) => number,
];

/** Requests, and tokens of prompts and answers, divided by the seconds that all took: vLLM's definitions. */
const speeds: readonly Figure[] = [
  ["requests", "requests/s", "higher", ({ seconds }, requests) => requests / seconds],
  ["total tokens", "tokens/s", "higher", (run) => (run.promptTokens + run.outputTokens) / run.seconds],
  ["prompt tokens", "tokens/s", "higher", ({ promptTokens, seconds }) => promptTokens / seconds],
  ["output tokens", "tokens/s", "higher", ({ outputTokens, seconds }) => outputTokens / seconds],
];

const details: readonly Figure[] = [
  ["time", "s", null, ({ seconds }) => seconds],
  ["steps", "steps", null, ({ steps }) => steps.length],
  [
    "step",
    "ms",
    "lower",
    ({ steps }) =>
      1000 *
      quantile(
        steps.map(({ seconds }) => seconds),
        0.5,
      ),
  ],
  [
    "step, 99th percentile",
    "ms",
    "lower",
    ({ steps }) =>
      1000 *
      quantile(
        steps.map(({ seconds }) => seconds),
        0.99,
      ),
  ],
  ["time outside of steps", "%", null, (run) => 100 * (1 - stepSeconds(run) / run.seconds)],
  ["attention's part of steps", "%", null, (run) => (100 * attentionSeconds(run)) / stepSeconds(run)],
  [PROCESSOR_TIME, "%", null, ({ cpuSeconds, seconds, threads }) => (100 * cpuSeconds) / (seconds * threads)],
  ["peak cache use", "blocks", null, ({ peakBlocks }) => peakBlocks],
  ["peak share of the cache", "%", null, ({ peakBlocks, blocks }) => (100 * peakBlocks) / blocks],
  ["prefix cache hits", "%", null, ({ cachedPromptTokens, promptTokens }) => (100 * cachedPromptTokens) / promptTokens],
  ["preemptions", "requests", null, ({ preemptions }) => preemptions],
];

/** A case's figures. Bytes were counted once: their rounds would be the same. */
export function measurementsOf({ labels, runs, traffic, reference }: Case, requests: number): Measurement[] {
  const figures = [...speeds, ...details].map(([name, unit, better, of]) => {
    return measured(
      { name, labels, unit, better },
      runs.map((run) => of(run, requests)),
    );
  });
  const bytes = traffic.scoreBytes + traffic.gatherBytes + traffic.denseBytes;
  const { outputTokens } = runs[0]!;
  const read = { name: "KV read for an output token", labels, unit: "bytes", better: "lower" } as const;
  figures.push(measured(read, [bytes / outputTokens]));
  // Answers of one token have no row of their own: it is the prompt's last row that gives it.
  if (traffic.denseEquivalentBytes > 0) {
    const share = { name: "KV read against dense", labels, unit: "x", better: "lower" } as const;
    figures.push(measured(share, [bytes / traffic.denseEquivalentBytes]));
  }
  if (reference === null) return figures;
  const speed = (run: OfflineRun) => requests / run.seconds;
  return [
    ...figures,
    ratioOf({ name: AGAINST_FIRST, labels, better: "higher" }, runs.map(speed), reference.map(speed)),
  ];
}

function stepSeconds({ steps }: OfflineRun): number {
  return steps.reduce((sum, { seconds }) => sum + seconds, 0);
}

function attentionSeconds({ steps }: OfflineRun): number {
  return steps.reduce((sum, { attentionSeconds = 0 }) => sum + attentionSeconds, 0);
}
