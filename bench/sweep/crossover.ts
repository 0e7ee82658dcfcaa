import type { Measurement } from "../record/measurement.ts";

/** The figures of a sweep that say how many times less a variant's step takes than dense attention's. */
export const SPEEDUP = "times faster than dense";

export interface Crossover {
  readonly variant: string;
  readonly batch: number;
  /** The least context from which on the variant is faster at every one that was measured; null: there is none. */
  readonly from: number | null;
  /** The longest that was measured where it is not. The crossing is between the two. */
  readonly notAt: number | null;
  /** Contexts at which it is slower, and at which it may be either. */
  readonly slowerAt: readonly number[];
  readonly undecidedAt: readonly number[];
  /** The longest that was measured. */
  readonly upTo: number;
}

/** For each variant and batch. Faster or slower is what the whole interval is; figures without one are undecided. */
export function crossoversOf(measurements: readonly Measurement[]): Crossover[] {
  const groups = new Map<string, { variant: string; batch: number; points: Measurement[] }>();
  for (const point of measurements.filter(({ name }) => name === SPEEDUP)) {
    const { variant, batch } = point.labels as { variant: string; batch: number };
    const key = JSON.stringify([variant, batch]);
    const group = groups.get(key) ?? { variant, batch, points: [] };
    groups.set(key, group);
    group.points.push(point);
  }
  return [...groups.values()].map(({ variant, batch, points }) => ({ variant, batch, ...crossing(points) }));
}

function crossing(points: readonly Measurement[]) {
  const sorted = points
    .map(({ labels, interval }) => ({ context: labels.context as number, interval: interval ?? [0, Infinity] }))
    .sort((a, b) => a.context - b.context);
  let from: number | null = null;
  let notAt: number | null = null;
  for (const { context, interval } of sorted) {
    if (interval[0]! <= 1) [from, notAt] = [null, context];
    else from ??= context;
  }
  const at = (holds: (low: number, high: number) => boolean) =>
    sorted.filter(({ interval }) => holds(interval[0]!, interval[1]!)).map(({ context }) => context);
  return {
    ...{ from, notAt, upTo: sorted.at(-1)!.context },
    slowerAt: at((_, high) => high < 1),
    undecidedAt: at((low, high) => low <= 1 && high >= 1),
  };
}

/** "faster from 4096 on, not at 2048; slower at 512, 1024; within the noise at 2048" */
export function describeCrossover({ from, notAt, upTo, slowerAt, undecidedAt }: Crossover): string {
  const parts = [
    from === null ? `no crossover up to ${upTo}` : `faster from ${from} on${notAt === null ? "" : `, not at ${notAt}`}`,
    ...(slowerAt.length > 0 ? [`slower at ${slowerAt.join(", ")}`] : []),
    ...(undecidedAt.length > 0 ? [`within the noise at ${undecidedAt.join(", ")}`] : []),
  ];
  return parts.join("; ");
}
