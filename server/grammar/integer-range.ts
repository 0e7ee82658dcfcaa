/**
 * Regular expressions, alternatives, for the integers from `least` to `most`, in decimal without leading zeros; undefined is no bound. The
 * bounds are integers and least <= most.
 */
export function integerRange(least: bigint | undefined, most: bigint | undefined): string[] {
  const alternatives: string[] = [];
  if (least === undefined || least < 0n) {
    const from = most === undefined || most >= 0n ? 1n : -most;
    alternatives.push(...naturals(from, least === undefined ? undefined : -least).map((digits) => `-${digits}`));
  }
  if (most === undefined || most >= 0n) {
    alternatives.push(...naturals(least === undefined || least < 0n ? 0n : least, most));
  }
  return alternatives;
}

/** The natural numbers from `from` to `to`, by their lengths. */
function naturals(from: bigint, to: bigint | undefined): string[] {
  const digits = from.toString();
  const nines = 10n ** BigInt(digits.length) - 1n;
  if (to !== undefined && to <= nines) return sameLength(digits, to.toString());
  const longer = to === undefined ? [`[1-9][0-9]{${digits.length},}`] : naturals(10n ** BigInt(digits.length), to);
  return [...sameLength(digits, nines.toString()), ...longer];
}

/** Numbers between two of the same length, digit by digit: what they share, then the first digit that differs. */
function sameLength(from: string, to: string): string[] {
  if (from === "") return [""];
  if (/^0*$/.test(from) && /^9*$/.test(to)) return [`[0-9]{${from.length}}`];
  const [low, high] = [from[0] as string, to[0] as string];
  const rest = from.length - 1;
  const begin = (digit: string, tails: string[]) => tails.map((tail) => `${digit}${tail}`);
  if (low === high) return begin(low, sameLength(from.slice(1), to.slice(1)));
  const between = (first: number, last: number) =>
    first > last ? [] : [rest === 0 ? `[${first}-${last}]` : `[${first}-${last}][0-9]{${rest}}`];
  // Ends whose rest is all zeros or all nines belong to the middle.
  const wholeLow = /^0*$/.test(from.slice(1));
  const wholeHigh = /^9*$/.test(to.slice(1));
  return [
    ...(wholeLow ? [] : begin(low, sameLength(from.slice(1), "9".repeat(rest)))),
    ...between(Number(low) + (wholeLow ? 0 : 1), Number(high) - (wholeHigh ? 0 : 1)),
    ...(wholeHigh ? [] : begin(high, sameLength("0".repeat(rest), to.slice(1)))),
  ];
}
