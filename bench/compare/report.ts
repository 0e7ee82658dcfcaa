import type { Machine } from "../machine.ts";
import { median, quantile } from "../statistics.ts";

export interface CompareResult {
  readonly system: string;
  /** "sparq" or "dense" of sparq; "dense" of llama.cpp. */
  readonly variant: string;
  readonly context: number;
  readonly batch: number;
  /** Median over all timed steps, milliseconds. */
  readonly msPerStep: number;
  /** Of all sequences together. */
  readonly tokensPerSecond: number;
  /** A tenth of the steps were faster, a tenth slower. */
  readonly p10: number;
  readonly p90: number;
  /** Median of each round: how steady the machine was. */
  readonly roundMedians: readonly number[];
}

/** The peer's time divided by sparq's, by variant: above 1 sparq is faster. */
export interface CompareRatio {
  readonly context: number;
  readonly batch: number;
  readonly sparq: number;
  readonly dense: number;
}

export interface PrefillResult {
  readonly system: string;
  readonly context: number;
  /** Median, seconds for one sequence. */
  readonly seconds: number;
  readonly tokensPerSecond: number;
  readonly rounds: readonly number[];
}

export interface PrefillRatio {
  readonly context: number;
  readonly dense: number;
}

/** How often both sides find the same token the likeliest, over the positions of a real prompt. */
export interface Agreement {
  readonly same: number;
  readonly positions: number;
}

export interface CompareReport {
  readonly machine: Machine;
  readonly versions: Readonly<Record<string, string>>;
  readonly command: string;
  readonly model: string;
  readonly settings: Readonly<Record<string, unknown>>;
  readonly agreement: Agreement | null;
  readonly results: readonly CompareResult[];
  readonly ratio: readonly CompareRatio[];
  readonly prefill: readonly PrefillResult[];
  readonly prefillRatio: readonly PrefillRatio[];
  /** Most that a side computed while the other was timed, in cores. */
  readonly idleCores: number;
  /** Sides that were not measured, and why. */
  readonly skipped: readonly { readonly system: string; readonly reason: string }[];
}

type Cell = Pick<CompareResult, "system" | "variant" | "context" | "batch">;

/** `rounds`: milliseconds of each step, by round. */
export function compareResult(cell: Cell, rounds: readonly (readonly number[])[]): CompareResult {
  const steps = rounds.flat();
  const msPerStep = median(steps);
  return {
    ...cell,
    msPerStep,
    tokensPerSecond: (1000 * cell.batch) / msPerStep,
    p10: quantile(steps, 0.1),
    p90: quantile(steps, 0.9),
    roundMedians: rounds.map(median),
  };
}

export function prefillResult(system: string, context: number, rounds: readonly number[]): PrefillResult {
  const seconds = median(rounds);
  return { system, context, seconds, tokensPerSecond: context / seconds, rounds };
}

/** One for each context and batch that was measured on both sides, in the results' order. */
export function ratiosOf(results: readonly CompareResult[], peer: string): CompareRatio[] {
  const time = (like: CompareResult, variant: string) =>
    results.find(
      ({ system, ...cell }) =>
        system !== peer && cell.variant === variant && cell.context === like.context && cell.batch === like.batch,
    )?.msPerStep ?? Number.NaN;
  return results
    .filter(({ system }) => system === peer)
    .map((result) => {
      const { context, batch, msPerStep } = result;
      return { context, batch, sparq: msPerStep / time(result, "sparq"), dense: msPerStep / time(result, "dense") };
    });
}

export function prefillRatiosOf(results: readonly PrefillResult[], peer: string): PrefillRatio[] {
  return results
    .filter(({ system }) => system === peer)
    .map(({ context, seconds }) => {
      const own = results.find((result) => result.system !== peer && result.context === context);
      return { context, dense: seconds / (own?.seconds ?? Number.NaN) };
    });
}

/** Tables for a terminal, in Markdown. */
export function formatReport({ results, ratio, prefill, prefillRatio }: CompareReport): string {
  const lines = ["| context | batch | system | attention | ms per step | p10 - p90 | tokens/s | peer's time / this |"];
  lines.push("|---|---|---|---|---|---|---|---|");
  for (const { system, variant, context, batch, msPerStep, p10, p90, tokensPerSecond } of results) {
    const own = ratio.find((entry) => entry.context === context && entry.batch === batch);
    const times = system === "sparq" ? own?.[variant as "sparq" | "dense"] : undefined;
    const spread = `${p10.toFixed(2)} - ${p90.toFixed(2)}`;
    const cells = [context, batch, system, variant, msPerStep.toFixed(2), spread, tokensPerSecond.toFixed(1)];
    lines.push(`| ${[...cells, times === undefined ? "" : `${times.toFixed(2)}x`].join(" | ")} |`);
  }
  if (prefill.length > 0) {
    lines.push("", "| prefill | system | seconds | tokens/s | peer's time / this |", "|---|---|---|---|---|");
    for (const { context, system, seconds, tokensPerSecond } of prefill) {
      const own = system === "sparq" ? prefillRatio.find((entry) => entry.context === context)?.dense : undefined;
      const cells = [context, system, seconds.toFixed(2), tokensPerSecond.toFixed(0)];
      lines.push(`| ${[...cells, own === undefined ? "" : `${own.toFixed(2)}x`].join(" | ")} |`);
    }
  }
  return `${lines.join("\n")}\n`;
}
