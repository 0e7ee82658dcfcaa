import { median, quantile } from "../statistics.ts";
import type { StepFigures } from "./figures.ts";

export interface Round {
  readonly served: StepFigures;
  readonly direct: StepFigures;
  /** Processor time of the clients for each step, milliseconds. */
  readonly clientMs: number;
}

export interface OverheadReport {
  readonly served: StepFigures;
  readonly direct: StepFigures;
  readonly clientMs: number;
  /** Tokens a second of all sequences together. */
  readonly servedTokensPerSecond: number;
  readonly directTokensPerSecond: number;
  /** Of the two, in each round: the median, and the quartiles. */
  readonly ratio: readonly [number, number, number];
  /** What sampling and the gap take, in shares of the step that a plain loop runs. */
  readonly overhead: number;
  readonly rounds: readonly Round[];
}

/** Medians over the rounds. A plain loop's step does not count its sampling. */
export function reportOf(rounds: readonly Round[], batch: number): OverheadReport {
  const served = middle(rounds.map((round) => round.served));
  const direct = middle(rounds.map((round) => round.direct));
  const plain = ({ period, sampling }: StepFigures) => period - sampling;
  const ratios = rounds.map((round) => plain(round.direct) / round.served.period);
  return {
    served,
    direct,
    clientMs: median(rounds.map(({ clientMs }) => clientMs)),
    servedTokensPerSecond: (1000 * batch) / served.period,
    directTokensPerSecond: (1000 * batch) / plain(direct),
    ratio: [quantile(ratios, 0.5), quantile(ratios, 0.25), quantile(ratios, 0.75)],
    overhead: (served.sampling + served.gap) / direct.graph,
    rounds,
  };
}

function middle(figures: readonly StepFigures[]): StepFigures {
  const of = (name: Exclude<keyof StepFigures, "thread">) => median(figures.map((one) => one[name]));
  const threads = figures.flatMap(({ thread }) => thread ?? []);
  return {
    steps: of("steps"),
    period: of("period"),
    graph: of("graph"),
    sampling: of("sampling"),
    gap: of("gap"),
    between: of("between"),
    thread: threads.length < figures.length ? null : median(threads),
  };
}

export function tableOf(report: OverheadReport): string {
  const { served, direct, clientMs, ratio, overhead } = report;
  const row = (name: string, value: (figures: StepFigures) => number | null) => {
    const cells = [served, direct].map((figures) => value(figures)?.toFixed(3) ?? "unknown");
    return `| ${name} | ${cells.join(" | ")} |`;
  };
  const [middle, low, high] = ratio.map((value) => value.toFixed(3));
  return [
    "| of a step, ms | server | plain loop |",
    "|---|---|---|",
    row("from one to the next", ({ period }) => period),
    row("graph", ({ graph }) => graph),
    row("sampling", ({ sampling }) => sampling),
    row("gap between native calls", ({ gap }) => gap),
    row("of it, from result to next call", ({ between }) => between),
    row("processor time of the JavaScript thread", ({ thread }) => thread),
    `| tokens/s | ${report.servedTokensPerSecond.toFixed(1)} | ${report.directTokensPerSecond.toFixed(1)} |`,
    "",
    `sampling and gap: ${(100 * overhead).toFixed(1)} % of a step's graph; tokens/s ${middle} (${low}-${high}) of the plain loop's`,
    `processor time of the clients for each step: ${clientMs.toFixed(3)} ms`,
    "",
  ].join("\n");
}
