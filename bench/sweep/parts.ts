import type { SequencesOutput } from "../../attention/session.ts";

/** What a step's time is made of, in the order in which it is shown. */
export const parts = [
  "linears",
  "append",
  "dense attention",
  "score pass",
  "top-k",
  "gather",
  "other ranks",
  "waiting",
  "rest of graph",
  "sampling",
  "server",
] as const;
export type Part = (typeof parts)[number];

/** Milliseconds of each; together they are the step. */
export type Split = Readonly<Record<Part, number>>;

/** `wallMs`: of the call of a timed step. Times of attention's tasks are sums over threads: divided by them, the rest is waiting. */
export function splitOf(output: SequencesOutput, wallMs: number, threads: number): Split {
  const { times, seconds, attentionSeconds, samplingSeconds } = output;
  if (times === undefined) throw new RangeError("the step was not timed");
  const { linears, append, dense, scan, topK, gather, other } = times;
  const busy = (append + dense + scan + topK + gather + other) / threads;
  const ofThreads = (value: number) => (1000 * value) / threads;
  return {
    linears: 1000 * linears,
    append: ofThreads(append),
    "dense attention": ofThreads(dense),
    "score pass": ofThreads(scan),
    "top-k": ofThreads(topK),
    gather: ofThreads(gather),
    "other ranks": ofThreads(other),
    waiting: 1000 * (attentionSeconds - busy),
    "rest of graph": 1000 * (seconds - attentionSeconds - samplingSeconds - linears),
    sampling: 1000 * samplingSeconds,
    server: wallMs - 1000 * seconds,
  };
}
