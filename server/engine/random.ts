import { randomBytes } from "node:crypto";

const ROUNDS = 10;
const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;

/** High 32 bits of the product of two unsigned 32-bit integers. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const cross = aLow * bHigh + (middle & 0xffff);
  return (aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(cross / 0x10000)) >>> 0;
}

/**
 * Philox4x32-10: a bijection of the 128-bit counter for each 64-bit key, as four and two unsigned 32-bit words.
 * Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
 */
export function philox(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = multiplyHigh(MULTIPLIER_0, c0);
    const low0 = Math.imul(MULTIPLIER_0, c0) >>> 0;
    const high1 = multiplyHigh(MULTIPLIER_1, c2);
    const low1 = Math.imul(MULTIPLIER_1, c2) >>> 0;
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    k0 = (k0 + WEYL_0) >>> 0;
    k1 = (k1 + WEYL_1) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/**
 * A request's random numbers. Draw i is a function of the seed and i alone, with no state between draws: the same seed
 * gives the same tokens whatever shares the batch, and a preempted request goes on as if nothing had happened.
 */
export class RandomStream {
  private readonly key: readonly [number, number];

  /** Seeds are integers taken modulo 2^64, fractions cut off; undefined takes one from the system. */
  constructor(seed?: number) {
    const bits = seed === undefined ? randomBytes(8).readBigUInt64LE() : BigInt.asUintN(64, BigInt(Math.trunc(seed)));
    this.key = [Number(bits & 0xffffffffn), Number(bits >> 32n)];
  }

  /** Draw `index` (from 0): uniform over [0, 1) in steps of 2^-53. */
  uniform(index: number): number {
    const [a, b] = philox([index >>> 0, Math.floor(index / 2 ** 32) >>> 0, 0, 0], this.key);
    return ((a >>> 5) * 2 ** 26 + (b >>> 6)) / 2 ** 53;
  }
}
