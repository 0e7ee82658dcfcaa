import { mean, standardError } from "../statistics.ts";
import type { EvalResult } from "./types.ts";

export interface Difference {
  /** Mean over items, in the items' unit: of a perplexity the logarithm. */
  readonly difference: number;
  /** Of that mean; null for one item. Items are hard or easy for all variants alike, so it is smaller than those of the two values. */
  readonly stderr: number | null;
}

/** A result less dense attention's of the same items; null for dense attention itself, or where it was not measured. */
export function fromDense(result: EvalResult, results: readonly EvalResult[]): Difference | null {
  const { task, tokens, metric, variant } = result;
  const dense = results.find(
    (other) => other.task === task && other.tokens === tokens && other.metric === metric && other.variant === "dense",
  );
  if (dense === undefined || variant === "dense" || dense.items.length !== result.items.length) return null;
  const differences = result.items.map((value, i) => value - dense.items[i]!);
  return { difference: mean(differences), stderr: differences.length > 1 ? standardError(differences) : null };
}
