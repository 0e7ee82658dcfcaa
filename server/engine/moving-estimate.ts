/** A measurement moves an estimate by this factor at most: one slow step says little. */
const MOST_CHANGE = 2;

/** The estimate after one more measurement, which moves it by `weight` of the way; the measurement itself if it is the first. */
export function towards(estimate: number | null, measured: number, weight: number): number {
  if (estimate === null) return measured;
  const bounded = Math.min(Math.max(measured, estimate / MOST_CHANGE), estimate * MOST_CHANGE);
  return estimate + weight * (bounded - estimate);
}
