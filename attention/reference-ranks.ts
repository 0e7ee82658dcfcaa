/** What the reference keeps of a sparse row by ranks other than SparQ's, and what a choice is worth. See `ranks` in types.ts. */
import { dot, softmax, sum, type Vector } from "./reference-math.ts";
import type { Cell } from "./reference-store.ts";
import { top } from "./reference-top.ts";
import type { Observation } from "./types.ts";

/** The place of a row: all that chance may depend on. */
export interface Place {
  readonly layer: number;
  readonly head: number;
  readonly position: number;
}

/** In [0, 1): the same for all sequences. */
export function randomScore({ layer, head, position }: Place, key: number): number {
  let x = 0x9e3779b9;
  for (const part of [layer, head, position, key]) x = mix(x ^ part);
  return (x >>> 8) / 2 ** 24;
}

/** lowbias32 of Chris Wellons' hash prospector. */
function mix(x: number): number {
  let y = x;
  y = Math.imul(y ^ (y >>> 16), 0x7feb352d);
  y = Math.imul(y ^ (y >>> 15), 0x846ca68b);
  return y ^ (y >>> 16);
}

/** The first `sinks` and the most recent, `k` together. */
export function recent(visible: number, k: number, sinks: number): number[] {
  const places = Array.from({ length: visible }, (_, j) => j);
  return [...places.slice(0, sinks), ...places.slice(visible - (k - sinks))];
}

/** What one KV head's row kept, against its exact attention. */
export function observe(
  queries: readonly Vector[],
  cells: readonly Cell[],
  scale: number,
  kept: readonly number[],
  alpha: readonly number[],
): Omit<Observation, "rows"> {
  const logits = queries.map((q) => cells.map(({ key }) => dot(q, key) * scale));
  const scores = logits.map(softmax);
  const ranking = queries.length === 1 ? logits : scores;
  const rank = cells.map((_, j) => sum(ranking.map((x) => x[j]!)));
  const best = new Set(top(rank, kept.length, () => {}));
  const mean = (x: readonly number[]) => sum(x) / x.length;
  return {
    recall: kept.filter((j) => best.has(j)).length / kept.length,
    massKept: mean(scores.map((x) => sum(kept.map((j) => x[j]!)))),
    alpha: mean(alpha),
  };
}
