// The reference's selections: exact, and by buckets.

/** Is told how far a selection was from choosing otherwise, relative to the largest score. */
export type Narrow = (gap: number) => void;

/** Indices of the `count` largest, ascending; the lower index first among equals. Reports the gap at the edge. */
export function top(x: number[], count: number, narrow: Narrow): number[] {
  const order = [...x.keys()].sort((a, b) => x[b]! - x[a]! || a - b);
  const [inside, outside] = [x[order[count - 1]!], x[order[count]!]];
  if (inside !== undefined && outside !== undefined) {
    narrow((inside - outside) / Math.max(Math.abs(x[order[0]!]!), Math.abs(x[order.at(-1)!]!), Number.MIN_VALUE));
  }
  return order.slice(0, count).sort((a, b) => a - b);
}

/**
 * As `top` of those that are among the `perBucket` largest of their bucket (arXiv 2412.04358); 0: of all. Index i is in
 * bucket i mod b, b = count / perBucket rounded up to a multiple of 16; exact where buckets would leave nothing out.
 */
export function topOfBuckets(x: number[], count: number, perBucket: number, narrow: Narrow): number[] {
  const buckets = Math.ceil(Math.ceil(count / perBucket) / 16) * 16;
  if (perBucket === 0 || count >= x.length || buckets * perBucket >= x.length) return top(x, count, narrow);
  const topAmong = (among: number[], most: number, gapOf: Narrow) => {
    const values = among.map((i) => x[i]!);
    return top(values, most, gapOf).map((place) => among[place]!);
  };
  const gaps = new Map<number, number>();
  const best = Array.from({ length: buckets }, (_, b) => {
    const bucket = [...x.keys()].filter((i) => i % buckets === b);
    return topAmong(bucket, perBucket, (gap) => gaps.set(b, gap));
  }).flat();
  const chosen = topAmong(best, count, narrow);
  // Where a bucket ends matters if what it keeps is chosen to the last.
  for (const [b, gap] of gaps) if (chosen.filter((i) => i % buckets === b).length === perBucket) narrow(gap);
  return chosen;
}
