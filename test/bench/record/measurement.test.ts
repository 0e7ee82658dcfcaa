import { describe, expect, it } from "vitest";
import { measured, medianInterval, ratioOf } from "../../../bench/record/measurement.ts";
import { Random } from "../../../bench/soak/random.ts";
import { median } from "../../../bench/statistics.ts";

const what = { name: "decode step", labels: { batch: 1 }, unit: "ms", better: "lower" } as const;

describe("the interval of a median", () => {
  it("is the range of three to five rounds, and none of fewer", () => {
    expect(medianInterval([2, 1])).toBeNull();
    expect(medianInterval([3, 1, 2])).toEqual([1, 3]);
    expect(medianInterval([5, 3, 1, 2, 4])).toEqual([1, 5]);
  });

  it("leaves out as many on each side as the binomial distribution allows", () => {
    // The table of order statistics for 95 %: n = 9 takes the 2nd and 8th, n = 15 the 4th and 12th, n = 25 the 8th and 18th.
    for (const [n, place] of [
      [6, 1],
      [9, 2],
      [15, 4],
      [25, 8],
    ] as const) {
      const rounds = Array.from({ length: n }, (_, i) => i + 1);
      expect(medianInterval(rounds)).toEqual([place, n + 1 - place]);
    }
  });

  it("holds the true median in at least 95 of 100 runs, of a skewed distribution too", () => {
    const random = new Random(7);
    for (const n of [6, 9, 16, 30]) {
      let held = 0;
      for (let run = 0; run < 2000; run++) {
        const [low, high] = medianInterval(Array.from({ length: n }, () => -Math.log(1 - random.next())))!;
        if (low <= Math.LN2 && Math.LN2 <= high) held++;
      }
      // Three standard errors of 2000 runs below 95 %.
      expect(held / 2000).toBeGreaterThan(0.95 - 3 * Math.sqrt((0.95 * 0.05) / 2000));
    }
  });
});

describe("a measurement", () => {
  it("is the median of its rounds", () => {
    const { value, interval, rounds } = measured(what, [3, 1, 2]);
    expect({ value, interval, rounds }).toEqual({ value: 2, interval: [1, 3], rounds: [3, 1, 2] });
  });

  it("refuses rounds that are no numbers, naming itself", () => {
    expect(() => measured(what, [1, Number.NaN])).toThrow("decode step has a round that is no number: 1, NaN");
  });

  it("divides round by round, so that a slow round of both leaves the ratio alone", () => {
    const slow = [10, 20, 40];
    expect(ratioOf(what, slow, [5, 10, 20])).toMatchObject({ value: 2, interval: [2, 2], unit: "x" });
    expect(median(slow) / 5).toBe(4);
    expect(() => ratioOf(what, [1], [1, 2])).toThrow("decode step divides 1 rounds by 2");
  });
});
