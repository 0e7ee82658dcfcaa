import type { Cell } from "./reference-store.ts";

export type Vector = Float64Array;

export const sum = (x: readonly number[]) => x.reduce((total, e) => total + e, 0);

export function dot(a: Vector, b: Vector): number {
  let total = 0;
  for (let c = 0; c < a.length; c++) total += a[c]! * b[c]!;
  return total;
}

export function softmax(logits: readonly number[]): number[] {
  const largest = logits.reduce((a, b) => Math.max(a, b));
  const weights = logits.map((x) => Math.exp(x - largest));
  const total = sum(weights);
  return weights.map((w) => w / total);
}

/** The weighted sum of the cells' values. */
export function weighted(weights: readonly number[], cells: readonly Cell[]): Vector {
  const total = new Float64Array(cells[0]!.value.length);
  for (const [j, { value }] of cells.entries()) {
    for (let c = 0; c < value.length; c++) total[c] = total[c]! + weights[j]! * value[c]!;
  }
  return total;
}
