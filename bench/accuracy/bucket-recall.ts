/** Buckets of native/body_select.inc: k / perBucket, rounded up to a multiple of 16. */
export function bucketsOf(k: number, perBucket: number): number {
  return Math.ceil(Math.ceil(k / perBucket) / 16) * 16;
}

/**
 * Share of the k largest of many values, in random order, that bucketed top-k finds: the `perBucket` largest of each of
 * `buckets`, (perBucket + sum over j in [perBucket, k) of BinomCDF(perBucket - 1; j, 1 / buckets)) / k.
 * Source: arXiv 2412.04358. Buckets must hold more than k together, or nothing is dropped after them.
 */
export function expectedRecall(k: number, perBucket: number, buckets: number): number {
  if (k <= perBucket) return 1;
  let found = perBucket;
  for (let j = perBucket; j < k; j++) found += binomialCdf(perBucket - 1, j, 1 / buckets);
  return found / k;
}

/** P(X <= most) of X ~ Binomial(n, p), p < 1 unless n is 0. */
function binomialCdf(most: number, n: number, p: number): number {
  let term = (1 - p) ** n;
  let sum = term;
  for (let i = 0; i < Math.min(most, n); i++) {
    term *= (((n - i) / (i + 1)) * p) / (1 - p);
    sum += term;
  }
  return sum;
}
