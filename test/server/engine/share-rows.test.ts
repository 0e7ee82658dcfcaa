import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { shareRows } from "../../../server/engine/share-rows.ts";

const prompts = (...pending: number[]) => pending.map((rows) => ({ pending: rows, priority: 0 }));

describe("rows for prompts", () => {
  test("go to the first until it is done", () => {
    expect(shareRows(prompts(4, 4, 4), 10)).toEqual([4, 4, 2]);
    expect(shareRows(prompts(100), 10)).toEqual([10]);
    expect(shareRows([], 10)).toEqual([]);
  });

  test("go half to a long first one, else to the shortest", () => {
    expect(shareRows(prompts(8000, 500, 3), 11)).toEqual([6, 2, 3]);
    expect(shareRows(prompts(8000, 2), 11)).toEqual([9, 2]);
  });

  test("go to a lower priority number before a shorter prompt", () => {
    const urgent = { pending: 50, priority: 0 };
    const short = { pending: 3, priority: 1 };
    expect(shareRows([{ pending: 8000, priority: 0 }, short, urgent], 20)).toEqual([10, 0, 10]);
  });

  test("are all given, none twice, and always some to the first", () => {
    const demand = fc.record({ pending: fc.integer({ min: 1, max: 600 }), priority: fc.integer({ min: 0, max: 2 }) });
    fc.assert(
      fc.property(fc.array(demand, { minLength: 1, maxLength: 8 }), fc.integer({ min: 1, max: 512 }), (all, budget) => {
        const rows = shareRows(all, budget);
        const wanted = all.reduce((sum, { pending }) => sum + pending, 0);
        expect(rows.reduce((sum, given) => sum + given)).toBe(Math.min(budget, wanted));
        for (const [i, given] of rows.entries()) expect(given).toBeLessThanOrEqual(all[i]!.pending);
        expect(rows[0]).toBeGreaterThanOrEqual(Math.min(all[0]!.pending, Math.ceil(budget / 2)));
      }),
      { seed: 16 },
    );
  });
});
