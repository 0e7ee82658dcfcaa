import { describe, expect, test } from "vitest";
import { philox, RandomStream } from "../../../server/engine/random.ts";

describe("philox", () => {
  // Known answers of the Random123 library (kat_vectors, philox4x32 10).
  test.each([
    [
      [0, 0, 0, 0],
      [0, 0],
      [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    ],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ] as [[number, number, number, number], [number, number], number[]][])("of %j under %j", (counter, key, expected) => {
    expect(philox(counter, key)).toEqual(expected);
  });
});

describe("RandomStream", () => {
  const draws = (seed: number | undefined, count = 4) => {
    const stream = new RandomStream(seed);
    return Array.from({ length: count }, (_, i) => stream.uniform(i));
  };

  test("a draw depends on the seed and its index alone", () => {
    expect(draws(7)).toEqual(draws(7));
    const stream = new RandomStream(7);
    expect([3, 2, 1, 0].map((i) => stream.uniform(i)).reverse()).toEqual(draws(7));
  });

  test("different seeds differ, negative and large ones too", () => {
    const seeds = [0, 1, -1, 2 ** 32, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER, undefined, undefined];
    expect(new Set(seeds.map((seed) => draws(seed).join())).size).toBe(seeds.length);
    expect(draws(3.9)).toEqual(draws(3));
  });

  test("is uniform over [0, 1)", () => {
    const count = 20_000;
    const bins = new Array<number>(20).fill(0);
    const values = draws(5, count);
    expect(Math.min(...values)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...values)).toBeLessThan(1);
    for (const u of values) bins[Math.floor(u * 20)]! += 1;
    const chiSquare = bins.reduce((sum, n) => sum + (n - count / 20) ** 2 / (count / 20), 0);
    expect(chiSquare).toBeLessThan(43.8); // 19 degrees of freedom, p = 0.001
  });
});
