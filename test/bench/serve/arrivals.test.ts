import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { arrivals } from "../../../bench/serve/arrivals.ts";
import { Random } from "../../../bench/soak/random.ts";
import { mean } from "../../../bench/statistics.ts";

const intervalsOf = (times: readonly number[]) => times.map((time, i) => time - (times[i - 1] ?? 0));

function variationOf(values: readonly number[]): number {
  const centre = mean(values);
  return Math.sqrt(mean(values.map((value) => (value - centre) ** 2))) / centre;
}

describe("arrivals", () => {
  it("ascend, and the last is at n / rate, whatever is drawn", () => {
    const positive = (max: number) => fc.double({ min: 0.01, max, noNaN: true });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 200 }), positive(1000), positive(50), fc.nat(), (n, rate, shape, seed) => {
        const times = arrivals(n, rate, shape, new Random(seed));
        expect(times).toHaveLength(n);
        expect(times.at(-1)).toBeCloseTo((1000 * n) / rate, 6);
        for (const interval of intervalsOf(times)) expect(interval).toBeGreaterThanOrEqual(0);
      }),
    );
  });

  // The standard error of a coefficient of variation over 20 000 intervals is a percent or so of it.
  it.each([0.25, 1, 4, 25])("of burstiness %d vary by 1 / sqrt of it", (burstiness) => {
    const intervals = intervalsOf(arrivals(20_000, 50, burstiness, new Random(7)));
    expect(mean(intervals)).toBeCloseTo(20, 6);
    expect(variationOf(intervals) * Math.sqrt(burstiness)).toBeGreaterThan(0.95);
    expect(variationOf(intervals) * Math.sqrt(burstiness)).toBeLessThan(1.05);
  });

  it("of burstiness 1 are a Poisson process: counts of a window vary as much as they are many, intervals are exponential", () => {
    const times = arrivals(20_000, 50, 1, new Random(11));
    const counts = new Array<number>(400).fill(0);
    for (const time of times) counts[Math.min(399, Math.floor(time / 1000))]! += 1;
    const centre = mean(counts);
    expect(centre).toBe(50);
    const dispersion = mean(counts.map((n) => (n - centre) ** 2)) / centre;
    expect(dispersion).toBeGreaterThan(0.8); // Three standard errors, sqrt(2 / 400), are 0.21.
    expect(dispersion).toBeLessThan(1.22);
    const longer = intervalsOf(times).filter((interval) => interval > 20).length / 20_000;
    expect(longer).toBeCloseTo(Math.exp(-1), 1);
  });

  it("are even with a burstiness of Infinity, and all at once with a rate of it", () => {
    expect(arrivals(4, 2, Infinity, new Random(1))).toEqual([500, 1000, 1500, 2000]);
    expect(arrivals(3, Infinity, 1, new Random(1))).toEqual([0, 0, 0]);
  });

  it("are the same for the same seed", () => {
    expect(arrivals(9, 3, 0.5, new Random(5))).toEqual(arrivals(9, 3, 0.5, new Random(5)));
    expect(arrivals(9, 3, 0.5, new Random(5))).not.toEqual(arrivals(9, 3, 0.5, new Random(6)));
  });
});
