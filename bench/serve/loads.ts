import type { RoundFigures } from "./metrics.ts";

/** How requests come: at a rate a second, so many at the same time at most. */
export interface Load {
  /** Infinity: each as soon as there is a place. */
  readonly rate: number;
  /** Null: no limit. */
  readonly concurrency: number | null;
}

/** Rounds of a load. */
export interface LoadRounds {
  readonly load: Load;
  readonly rounds: readonly RoundFigures[];
}

/** Of requests that all come at once. */
const CONCURRENCY = 8;

/** Every rate with every limit. */
export function loadsOf(rates: readonly number[], limits: readonly number[] | undefined): Load[] {
  return rates.flatMap((rate) => {
    const standard = rate === Number.POSITIVE_INFINITY ? CONCURRENCY : null;
    return (limits ?? [standard]).map((concurrency) => ({ rate, concurrency }));
  });
}

/** For a record; Infinity is no JSON. */
export function labelsOf({ rate, concurrency }: Load): { rate: number | "inf"; concurrency: number | "none" } {
  return { rate: rate === Number.POSITIVE_INFINITY ? "inf" : rate, concurrency: concurrency ?? "none" };
}

export function nameOf(load: Load): string {
  const { rate, concurrency } = labelsOf(load);
  return `rate ${rate}, concurrency ${concurrency}`;
}
