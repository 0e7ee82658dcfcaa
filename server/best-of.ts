import type { TokenEvent } from "./engine/types.ts";

/**
 * Of each prompt's `bestOf` choices the `n` whose tokens have the highest mean log-probability, the best first; equal ones
 * in the order in which they were asked for. All prompts' choices follow one another, and are numbered anew.
 */
export function chooseBest<T extends { readonly index: number; readonly events: readonly TokenEvent[] }>(
  choices: readonly T[],
  bestOf: number,
  n: number,
): T[] {
  const chosen: T[] = [];
  for (let first = 0; first < choices.length; first += bestOf) {
    const ranked = choices
      .slice(first, first + bestOf)
      .map((choice) => ({ choice, mean: meanLogprob(choice.events) }))
      .sort((a, b) => b.mean - a.mean);
    chosen.push(...ranked.slice(0, n).map(({ choice }) => choice));
  }
  return chosen.map((choice, index) => ({ ...choice, index }));
}

/** 0 without tokens. */
function meanLogprob(events: readonly TokenEvent[]): number {
  const sum = events.reduce((total, { logprobs }) => total + (logprobs?.logprob ?? 0), 0);
  return events.length === 0 ? 0 : sum / events.length;
}
