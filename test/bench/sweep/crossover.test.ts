import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Measurement } from "../../../bench/record/measurement.ts";
import { crossoversOf, describeCrossover, SPEEDUP } from "../../../bench/sweep/crossover.ts";

type Point = readonly [context: number, low: number, high: number];

function speedups(points: readonly Point[], variant = "sparq:1/8", batch = 1): Measurement[] {
  return points.map(([context, low, high]) => ({
    name: SPEEDUP,
    labels: { variant, context, batch },
    unit: "x",
    better: "higher",
    value: (low + high) / 2,
    interval: [low, high],
    rounds: [],
  }));
}

const crossing = (points: readonly Point[]) => crossoversOf(speedups(points))[0]!;

describe("the crossover", () => {
  it("is the least context from which on the whole interval is above 1", () => {
    const points: Point[] = [
      [512, 0.8, 0.9],
      [1024, 0.97, 1.05],
      [2048, 1.01, 1.2],
      [4096, 1.5, 1.7],
    ];
    const expected = { from: 2048, notAt: 1024, slowerAt: [512], undecidedAt: [1024], upTo: 4096 };
    expect(crossing(points)).toMatchObject(expected);
    expect(crossing([...points].reverse())).toMatchObject(expected);
    expect(describeCrossover(crossing(points))).toBe(
      "faster from 2048 on, not at 1024; slower at 512; within the noise at 1024",
    );
  });

  it("does not hold where a longer context is slower again", () => {
    const points: Point[] = [
      [512, 1.1, 1.2],
      [1024, 0.9, 1.2],
      [2048, 1.1, 1.2],
    ];
    expect(crossing(points)).toMatchObject({ from: 2048, notAt: 1024 });
    expect(crossing(points.slice(0, 2))).toMatchObject({ from: null, notAt: 1024, upTo: 1024 });
    expect(describeCrossover(crossing(points.slice(0, 2)))).toBe("no crossover up to 1024; within the noise at 1024");
  });

  it("is the first context where all are faster", () => {
    expect(crossing([[512, 1.001, 2]])).toMatchObject({ from: 512, notAt: null });
    expect(describeCrossover(crossing([[512, 1.001, 2]]))).toBe("faster from 512 on");
  });

  it("is not where an interval ends at 1, or there is none", () => {
    expect(crossing([[512, 1, 2]])).toMatchObject({ from: null, undecidedAt: [512] });
    const [single] = speedups([[512, 1.5, 1.5]]);
    expect(crossoversOf([{ ...single!, interval: null }])[0]).toMatchObject({ from: null, undecidedAt: [512] });
  });

  it("is told for each variant and batch, of speedups alone", () => {
    const all = [
      ...speedups([[512, 2, 3]], "default", 1),
      ...speedups([[512, 0.5, 0.6]], "default", 8),
      ...speedups([[512, 2, 3]], "sparq:1/2", 1),
      { ...speedups([[512, 2, 3]], "dense", 1)[0]!, name: "decode step" },
    ];
    expect(crossoversOf(all).map(({ variant, batch, from }) => [variant, batch, from])).toEqual([
      ["default", 1, 512],
      ["default", 8, null],
      ["sparq:1/2", 1, 512],
    ]);
  });

  it("splits all contexts into faster, slower and undecided, whatever the intervals", () => {
    const interval = fc.tuple(fc.double({ min: 0.1, max: 3, noNaN: true }), fc.double({ min: 0, max: 1, noNaN: true }));
    fc.assert(
      fc.property(fc.array(interval, { minLength: 1, maxLength: 8 }), (intervals) => {
        const points = intervals.map(([low, width], i): Point => [512 * 2 ** i, low, low + width]);
        const { from, notAt, slowerAt, undecidedAt } = crossing(points);
        const faster = points.filter(([, low]) => low > 1).map(([context]) => context);
        expect([...faster, ...slowerAt, ...undecidedAt].sort((a, b) => a - b)).toEqual(points.map(([c]) => c));
        const after = points.filter(([context]) => notAt === null || context > notAt);
        expect(after.every(([, low]) => low > 1)).toBe(true);
        expect(from).toBe(after[0]?.[0] ?? null);
      }),
    );
  });
});
