/**
 * What the slider for k stops at, ascending: powers of two and the middles between them, from `least` (or the context, if
 * that is less) to the context, so that each step is felt alike at 16 and at 16384.
 */
export function kStops(contextLength: number, least = 8): number[] {
  const stops: number[] = [];
  for (let power = least; power < contextLength; power *= 2) {
    stops.push(power);
    const middle = power * 1.5;
    if (middle < contextLength) stops.push(middle);
  }
  return [...stops, contextLength];
}

/** The index of the stop nearest to k by ratio. */
export function nearestStop(stops: readonly number[], k: number): number {
  const distance = (stop: number) => Math.abs(Math.log(stop / Math.max(1, k)));
  return stops.reduce((best, stop, i) => (distance(stop) < distance(stops[best]!) ? i : best), 0);
}
