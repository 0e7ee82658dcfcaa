import { mean, standardError } from "../../statistics.ts";
import { type Distribution, distributionOf, divergence, surprise } from "../divergence.ts";

/** A mean over windows, with its standard error: rows of one window are not independent. Null for a single window. */
export interface Estimate {
  readonly mean: number;
  readonly standardError: number | null;
}

/** How far predictions are from those of a reference. */
export interface Comparison {
  /** KL(reference || variant), nats a token. */
  readonly kl: Estimate;
  readonly klMax: number;
  /** Share of rows with the same likeliest token. */
  readonly agreement: Estimate;
}

interface WindowResult {
  readonly kl: number;
  readonly klMax: number;
  readonly agreement: number;
}

/** Gathers comparisons with one reference, window by window. */
export class ComparisonTally {
  private readonly windows: WindowResult[] = [];

  /** One window's rows, of both. */
  add(reference: readonly Distribution[], rows: readonly Distribution[]): void {
    const divergences = rows.map((row, i) => divergence(reference[i]!, row));
    const agreeing = rows.filter((row, i) => row.top === reference[i]!.top).length;
    this.windows.push({ kl: mean(divergences), klMax: Math.max(...divergences), agreement: agreeing / rows.length });
  }

  result(): Comparison {
    return {
      kl: estimate(this.windows.map(({ kl }) => kl)),
      klMax: Math.max(...this.windows.map(({ klMax }) => klMax)),
      agreement: estimate(this.windows.map(({ agreement }) => agreement)),
    };
  }
}

export function estimate(values: readonly number[]): Estimate {
  return { mean: mean(values), standardError: values.length > 1 ? standardError(values) : null };
}

/** The rows of `logits` [rows, vocabSize] as distributions. Throws Error for a logit that is not finite. */
export function distributionsOf(logits: Float32Array, vocabSize: number): Distribution[] {
  return Array.from({ length: logits.length / vocabSize }, (_, row) => {
    const distribution = distributionOf(logits.subarray(row * vocabSize, (row + 1) * vocabSize));
    if (!Number.isFinite(distribution.normaliser)) throw new Error(`row ${row} has logits that are not finite`);
    return distribution;
  });
}

/** Mean cost in nats of the tokens that follow the rows. */
export function meanSurprise(rows: readonly Distribution[], next: readonly number[]): number {
  return mean(rows.map((row, i) => surprise(row, next[i]!)));
}
