const DIGIT = 0xff;
const SHIFTS = [24, 16, 8, 0] as const; // digits of 8 bits, highest first

/**
 * Keeps the candidates with the largest values whose weights reach `target`, equal values in favour of the earlier
 * candidate, and drops the rest in place; all that weigh anything stay if they do not reach it. Returns how many stay, in
 * their order: at least one if any weighs anything.
 *
 * A radix select on the bits of the values: four passes whatever their distribution, and no sorting.
 *
 * @param keys `orderedBits` of each candidate's value, [>= count]
 * @param weights of each candidate, >= 0, [>= count]; null counts candidates, each weighing 1
 * @param ids moved along with keys and weights, [>= count]
 */
export function cutTop(
  keys: Uint32Array,
  weights: Float64Array | null,
  ids: Int32Array,
  count: number,
  target: number,
): number {
  const bins = new Float64Array(DIGIT + 1);
  let above = 0; // weight of everything larger than what is still undecided
  let prefix = 0; // leading bits of the smallest value that is kept
  let known = 0; // mask of the leading bits that are decided
  for (const shift of SHIFTS) {
    bins.fill(0);
    for (let i = 0; i < count; i++) {
      const key = keys[i]!;
      if ((key & known) >>> 0 === prefix) {
        const bin = (key >>> shift) & DIGIT;
        bins[bin] = bins[bin]! + (weights === null ? 1 : weights[i]!);
      }
    }
    // If none reaches the target (or, deeper, not quite, by rounding), the lowest that weighs anything is the last.
    let lowest = 0;
    while (lowest < DIGIT && bins[lowest] === 0) lowest++;
    let bin = DIGIT;
    while (bin > lowest && (bins[bin] === 0 || above + bins[bin]! < target)) {
      above += bins[bin]!;
      bin--;
    }
    if (bins[bin] === 0) return 0;
    prefix = (prefix | (bin << shift)) >>> 0;
    known = (known | (DIGIT << shift)) >>> 0;
  }

  let kept = 0;
  for (let i = 0; i < count; i++) {
    const key = keys[i]!;
    const weight = weights === null ? 1 : weights[i]!;
    if (key < prefix) continue;
    if (key === prefix) {
      if (above >= target && kept > 0) continue;
      above += weight;
    }
    keys[kept] = key;
    if (weights !== null) weights[kept] = weight;
    ids[kept] = ids[i]!;
    kept++;
  }
  return kept;
}

/** The bits of a float32, changed so that unsigned order is the order of the values; -0 counts as 0. */
export function orderedBits(bits: number): number {
  if (bits === 0x80000000) return 0x80000000;
  return bits >= 0x80000000 ? ~bits >>> 0 : (bits | 0x80000000) >>> 0;
}
