import type { Sequence } from "./sequence.ts";

/** A prompt that wants rows of a step. */
export interface RowDemand {
  /** Rows until its first token, >= 1. */
  readonly pending: number;
  readonly priority: number;
}

/** What each prompt can use of a step: rows whose logits are wanted are short, so they go to the first in order. */
export function demandsOf(
  prompts: readonly Sequence[],
  maxScoredRows: number,
): (RowDemand & { readonly sequence: Sequence })[] {
  let scored = maxScoredRows;
  const demands = prompts.map((sequence) => {
    const { pending, priority, scoring } = sequence;
    if (!scoring) return { pending, priority, sequence };
    const rows = Math.min(pending, scored);
    scored -= rows;
    return { pending: rows, priority, sequence };
  });
  return demands.filter(({ pending }) => pending > 0);
}

/**
 * Divides a step's rows for prompts; `prompts` in the order in which they began. The first gets all that it can use if
 * that completes it, else half, so it never stops; what is left goes to the shortest, lower priority numbers first, so
 * that a short prompt need not wait for a long one; the first gets the rest. Returns the rows of each, in order.
 */
export function shareRows(prompts: readonly RowDemand[], budget: number): number[] {
  const rows = prompts.map(() => 0);
  const [first] = prompts;
  if (first === undefined) return rows;
  let left = budget;
  const give = (index: number, most: number) => {
    const given = Math.min(prompts[index]!.pending - rows[index]!, most, left);
    rows[index]! += given;
    left -= given;
  };
  give(0, first.pending <= budget ? budget : Math.ceil(budget / 2));
  const others = [...prompts.keys()].slice(1).sort((a, b) => {
    return prompts[a]!.priority - prompts[b]!.priority || prompts[a]!.pending - prompts[b]!.pending || a - b;
  });
  for (const index of others) give(index, left);
  give(0, left);
  return rows;
}
