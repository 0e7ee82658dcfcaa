import { median } from "../statistics.ts";

/** One figure of a benchmark: the median of its rounds, and how far another run may be from it. */
export interface Measurement {
  /** What was measured: "decode step". With the labels it is unique in a record. */
  readonly name: string;
  /** What it was measured for: `{ variant: "dense", context: 8192, batch: 1 }`. */
  readonly labels: Readonly<Record<string, string | number>>;
  /** "ms", "tokens/s", "x" for a ratio, "bytes". */
  readonly unit: string;
  /** Null: neither is; such a figure is not held against a baseline. */
  readonly better: "higher" | "lower" | null;
  readonly value: number;
  /** `medianInterval` of the rounds; null for fewer than three. */
  readonly interval: readonly [number, number] | null;
  /** A value for each round, in their order. Rounds of what is compared are interleaved. */
  readonly rounds: readonly number[];
}

/** Throws RangeError for no rounds or one that is not finite. */
export function measured(
  { name, labels, unit, better }: Pick<Measurement, "name" | "labels" | "unit" | "better">,
  rounds: readonly number[],
): Measurement {
  if (!rounds.every(Number.isFinite))
    throw new RangeError(`${name} has a round that is no number: ${rounds.join(", ")}`);
  const short = rounds.map(rounded);
  const value = rounded(median(short));
  return { name, labels, unit, better, value, interval: medianInterval(short), rounds: short };
}

/** Round by round, `of` divided by `by`: what both have in common, such as a slow minute, is not in it. */
export function ratioOf(
  what: Pick<Measurement, "name" | "labels" | "better">,
  of: readonly number[],
  by: readonly number[],
): Measurement {
  if (of.length !== by.length) throw new RangeError(`${what.name} divides ${of.length} rounds by ${by.length}`);
  return measured(
    { ...what, unit: "x" },
    of.map((value, i) => value / by[i]!),
  );
}

const CONFIDENCE = 0.95;

/**
 * The values between which the median of what the rounds are drawn from lies in 95 of 100 cases, whatever its distribution:
 * order statistics, by the binomial distribution (David and Nagaraja, Order Statistics, section 7.1). With three to five
 * rounds their whole range, which covers 75, 87 and 94 %. It takes rounds as independent: a machine that is slower on another day is
 * not in it, which is why ratios of interleaved rounds are steadier than times.
 */
export function medianInterval(rounds: readonly number[]): [number, number] | null {
  const n = rounds.length;
  if (n < 3) return null;
  const sorted = [...rounds].sort((a, b) => a - b);
  // The chance that fewer than `out + 1` of the rounds are on one side of the median, for the largest `out` that is rare enough.
  let out = 0;
  let chance = 0.5 ** n;
  let sum = chance;
  for (;;) {
    chance *= (n - out) / (out + 1);
    if (2 * (sum + chance) > 1 - CONFIDENCE || 2 * (out + 1) >= n - 1) break;
    sum += chance;
    out++;
  }
  return [sorted[out]!, sorted[n - 1 - out]!];
}

/** The same for the same figure of two records. */
export function keyOf({ name, labels }: Pick<Measurement, "name" | "labels">): string {
  return JSON.stringify([name, Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1))]);
}

/** "decode step (variant dense, context 8192)" */
export function titleOf({ name, labels }: Pick<Measurement, "name" | "labels">): string {
  const parts = Object.entries(labels).map(([key, value]) => `${key} ${value}`);
  return parts.length === 0 ? name : `${name} (${parts.join(", ")})`;
}

/** Six digits: what is more is noise, and makes files long. */
function rounded(value: number): number {
  return Number(value.toPrecision(6));
}
