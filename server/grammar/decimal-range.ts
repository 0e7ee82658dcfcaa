import { GrammarError } from "./errors.ts";
import { integerRange } from "./integer-range.ts";

/** The end of a range of numbers. */
export interface Bound {
  readonly value: number;
  readonly exclusive: boolean;
}

/** A bound of at least 0, in decimal. */
interface End {
  readonly whole: bigint;
  /** Digits after the point, the last of them not 0. */
  readonly fraction: string;
  readonly exclusive: boolean;
}

/** Decimals of so many digits are all different as doubles, so comparing digits compares the numbers that clients read. */
const EXACT_DIGITS = 15;

/**
 * Regular expressions, alternatives, for the decimals between two bounds, without exponents, and with so many digits after the point that no two
 * are the same double. `path` is for GrammarError.
 */
export function decimalRange(least: Bound | undefined, most: Bound | undefined, path: string): string[] {
  for (const bound of [least, most]) {
    if (bound?.exclusive && Math.abs(bound.value) >= 10 ** EXACT_DIGITS) {
      throw new GrammarError(
        path,
        `an exclusive bound of ${bound.value} is not supported; 1e${EXACT_DIGITS} is too large`,
      );
    }
  }
  const alternatives: string[] = [];
  const zero: Bound = { value: 0, exclusive: false };
  const mirrored = (bound: Bound | undefined) => bound && { value: -bound.value, exclusive: bound.exclusive };
  if (least === undefined || least.value < 0) {
    const from = most !== undefined && most.value <= 0 ? mirrored(most)! : zero;
    alternatives.push(...magnitudes(end(from), least && end(mirrored(least)!)).map((digits) => `-${digits}`));
  }
  if (most === undefined || most.value > 0 || (most.value === 0 && !most.exclusive)) {
    const from = least !== undefined && least.value >= 0 ? least : zero;
    alternatives.push(...magnitudes(end(from), most && end(most)));
  }
  return alternatives;
}

function end({ value, exclusive }: Bound): End {
  const [digits = "", exponent = "0"] = Math.abs(value).toExponential().split("e");
  const [first = "", rest = ""] = digits.split(".");
  const point = Number(exponent) + 1;
  const all = first + rest;
  const padded = point > 0 ? all.padEnd(point, "0") : "0".repeat(1 - point) + all;
  const at = Math.max(1, point);
  return { whole: BigInt(padded.slice(0, at)), fraction: padded.slice(at).replace(/0+$/, ""), exclusive };
}

function magnitudes(least: End, most: End | undefined): string[] {
  const length = Math.max(...[least, most ?? least].map(({ whole }) => whole.toString().length));
  const places = Math.max(0, EXACT_DIGITS - length);
  const any = places > 0 ? `(?:\\.[0-9]{1,${places}})?` : "";
  const at = (whole: bigint, low: End | undefined, high: End | undefined) =>
    fractions(low, high, places).map((fraction) => `${whole}${fraction}`);
  if (most !== undefined && least.whole > most.whole) return [];
  if (least.whole === most?.whole) return at(least.whole, least, most);
  const [from, to] = [least.whole + 1n, most && most.whole - 1n];
  const between = to !== undefined && from > to ? [] : integerRange(from, to);
  return [
    ...at(least.whole, least, undefined),
    ...between.map((whole) => `${whole}${any}`),
    ...(most ? at(most.whole, undefined, most) : []),
  ];
}

/** What may follow the whole part of a bound: nothing, or a point and digits. */
function fractions(low: End | undefined, high: End | undefined, places: number): string[] {
  const atZero =
    (low === undefined || (low.fraction === "" && !low.exclusive)) && !(high && high.fraction === "" && high.exclusive);
  const tails = digits(low && { ...low }, high && { ...high }, places).map((tail) => `\\.${tail}`);
  return atZero ? ["", ...tails] : tails;
}

type Side = Pick<End, "fraction" | "exclusive"> | undefined;

/** At least one digit, and `places` at most; `low` and `high` are what is left of the bounds where all digits equalled theirs. */
function digits(low: Side, high: Side, places: number): string[] {
  if (places === 0) return [];
  if (low?.fraction === "" && !low.exclusive) return digits(undefined, high, places);
  if (low === undefined && high === undefined) return [`[0-9]{1,${places}}`];
  if (high?.fraction === "" && high.exclusive) return [];
  const first = Number(low?.fraction[0] ?? 0);
  const last = high === undefined ? 9 : Number(high.fraction[0] ?? 0);
  const tails: string[] = [];
  const [free, freeTo] = [low ? first + 1 : first, high ? last - 1 : last];
  if (free <= freeTo) tails.push(`[${free}-${freeTo}][0-9]{0,${places - 1}}`);
  for (const digit of new Set([...(low ? [first] : []), ...(high ? [last] : [])])) {
    if (first > last) continue;
    const below = digit === first && low ? { ...low, fraction: low.fraction.slice(1) } : undefined;
    const above = digit === last && high ? { ...high, fraction: high.fraction.slice(1) } : undefined;
    // To end here is to go on with zeros.
    const mayEnd =
      (below === undefined || (below.fraction === "" && !below.exclusive)) &&
      !(above && above.fraction === "" && above.exclusive);
    if (mayEnd) tails.push(`${digit}`);
    tails.push(...digits(below, above, places - 1).map((tail) => `${digit}${tail}`));
  }
  return tails;
}
