import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { cutTop, orderedBits } from "../../attention/top-cut.ts";

const bitsOf = (value: number) => new Uint32Array(Float32Array.of(value).buffer)[0]!;

function cut(values: readonly number[], weights: readonly number[] | null, target: number): number[] {
  const keys = Uint32Array.from(values, (value) => orderedBits(bitsOf(value)));
  const ids = Int32Array.from(values.keys());
  const count = cutTop(keys, weights && Float64Array.from(weights), ids, values.length, target);
  return [...ids.subarray(0, count)];
}

/** By sorting. */
function naiveCut(values: readonly number[], weights: readonly number[] | null, target: number): number[] {
  const order = [...values.keys()].sort((a, b) => values[b]! - values[a]! || a - b);
  const kept: number[] = [];
  let reached = 0;
  for (const id of order) {
    if (reached >= target && kept.length > 0) break;
    reached += weights?.[id] ?? 1;
    kept.push(id);
  }
  return kept.sort((a, b) => a - b);
}

describe("orderedBits", () => {
  test("orders as the values do", () => {
    const values = [-Infinity, -3e38, -2, -1e-40, 0, 1e-45, 1e-40, 0.5, 0.75, 2, 3e38, Infinity];
    const keys = values.map((value) => orderedBits(bitsOf(value)));
    expect([...keys].sort((a, b) => a - b)).toEqual(keys);
    expect(new Set(keys).size).toBe(keys.length);
    expect(orderedBits(bitsOf(-0))).toBe(orderedBits(bitsOf(0)));
  });
});

describe("cutTop", () => {
  const value = fc.oneof(
    fc.float({ noNaN: true }),
    fc.constantFrom(0, 1, 1, -1, -Infinity, 1.0000001192092896),
    fc.integer({ min: -3, max: 3 }),
  );
  const candidates = fc.array(fc.tuple(value, fc.integer({ min: 1, max: 5 })), { minLength: 1, maxLength: 40 });

  test("keeps what sorting would keep, by count", () => {
    fc.assert(
      fc.property(candidates, fc.integer({ min: 1, max: 45 }), (pairs, target) => {
        const values = pairs.map(([v]) => v + 0);
        expect(cut(values, null, target)).toEqual(naiveCut(values, null, target));
      }),
      { seed: 3, numRuns: 2000 },
    );
  });

  test("keeps what sorting would keep, by weight", () => {
    fc.assert(
      fc.property(candidates, fc.integer({ min: 0, max: 120 }), (pairs, target) => {
        const values = pairs.map(([v]) => v + 0);
        // Equal values weigh the same where this is used; weights are whole numbers so that sums are exact.
        const weights = pairs.map(([v]) => pairs.find(([other]) => other === v)![1]);
        expect(cut(values, weights, target)).toEqual(naiveCut(values, weights, target));
      }),
      { seed: 4, numRuns: 2000 },
    );
  });

  test("what weighs nothing, at the low end, is dropped even if the target is out of reach", () => {
    expect(cut([3, 1, 2, 0, 1], [4, 0, 1, 0, 0], 9)).toEqual([0, 2]);
    expect(cut([3, 1], [0, 0], 1)).toEqual([]);
  });

  test("of equal values it keeps the first", () => {
    expect(cut([1, 1, 1, 1], null, 2)).toEqual([0, 1]);
    expect(cut([0, 1, 2, 1, 1], null, 3)).toEqual([1, 2, 3]);
  });
});
