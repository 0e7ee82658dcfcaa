import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type MeasuredStep, PrefillBudget } from "../../../server/engine/prefill-budget.ts";

const alone = (decodeRows: number, seconds: number | null): MeasuredStep => ({ seconds, decodeRows, promptRows: 0 });
const shared = (decodeRows: number, promptRows: number, seconds: number): MeasuredStep => ({
  seconds,
  decodeRows,
  promptRows,
});

function budgetOf(steps: readonly MeasuredStep[], settings = { slowdown: 2, floor: 4 }): PrefillBudget {
  const budget = new PrefillBudget(settings);
  for (const step of steps) budget.observe(step);
  return budget;
}

describe("rows of prompts in a step", () => {
  test("are not limited when nothing decodes, nor by a slowdown of infinity", () => {
    expect(budgetOf([]).rows(0)).toBe(Number.POSITIVE_INFINITY);
    expect(budgetOf([], { slowdown: Number.POSITIVE_INFINITY, floor: 1 }).rows(8)).toBe(Number.POSITIVE_INFINITY);
  });

  test("fill the time that they may add, by what rows beside decode rows cost", () => {
    expect(budgetOf([alone(1, 0.01), shared(1, 10, 0.02)]).rows(1)).toBe(10);
    expect(budgetOf([alone(1, 0.01), shared(1, 10, 0.02)], { slowdown: 1.5, floor: 4 }).rows(1)).toBe(5);
  });

  test("begin with what a large chunk's rows cost", () => {
    expect(budgetOf([{ seconds: 0.4, decodeRows: 0, promptRows: 400 }, alone(1, 0.02)]).rows(1)).toBe(20);
  });

  test("are as many times more as prompts wait", () => {
    const budget = budgetOf([alone(2, 0.01), shared(2, 10, 0.02)]);
    expect([1, 2, 3, 8].map((prompts) => budget.rows(2, prompts))).toEqual([10, 20, 30, 80]);
  });

  test("are the floor when they cost more than the time, or nothing is known of them", () => {
    expect(budgetOf([alone(1, 0.01)]).rows(1)).toBe(4);
    expect(budgetOf([alone(1, 0.001), shared(1, 4, 1)]).rows(1)).toBe(4);
  });

  test("are none in a step now and then, to measure one without, but not in two in a row", () => {
    const budget = budgetOf([]);
    expect(budget.rows(1)).toBe(0);
    budget.observe(alone(1, null)); // not measured either
    expect(budget.rows(1)).toBe(4);
    budget.observe(shared(1, 4, 0.02));
    expect(budget.rows(1)).toBe(0);
    budget.observe(alone(1, 0.01));
    expect(budget.rows(1)).toBe(4);
    let without = 0;
    for (let step = 0; step < 650; step++) {
      const rows = budget.rows(1);
      if (rows === 0) without += 1;
      budget.observe(rows === 0 ? alone(1, 0.01) : shared(1, rows, 0.01 + rows * 0.001));
    }
    expect(without).toBe(9);
  });

  test("follow the nearest number of decode rows that was measured, from below", () => {
    const steps = [alone(8, 0.25), shared(8, 8, 0.3125), alone(8, 0.25)];
    expect(budgetOf(steps).rows(8)).toBe(32);
    expect(budgetOf(steps).rows(9)).toBe(32); // at least as long as with 8
    expect(budgetOf(steps).rows(4)).toBe(16); // at least half as long
  });

  test("hardly change for one step in which the machine stood still", () => {
    const usual = [alone(1, 0.01), shared(1, 10, 0.02)];
    expect(budgetOf([...usual, shared(1, 10, 60)]).rows(1)).toBe(6);
    expect(budgetOf([...usual, alone(1, 60)]).rows(1)).toBe(15);
    // The very first measurement cannot be told from a true one, but the next step contradicts it.
    expect(budgetOf([alone(1, 60), shared(1, 500, 0.5)]).rows(1)).toBe(0);
    expect(budgetOf([alone(1, 60), shared(1, 500, 0.5), alone(1, 0.01), shared(1, 10, 0.02)]).rows(1)).toBe(10);
  });

  test("settings must make sense", () => {
    expect(() => budgetOf([], { slowdown: 0.5, floor: 4 })).toThrow("slowed down 0.5 times");
    expect(() => budgetOf([], { slowdown: Number.NaN, floor: 4 })).toThrow(RangeError);
    expect(() => budgetOf([], { slowdown: 2, floor: 0 })).toThrow("a floor of 0 rows");
  });
});

test("on a machine of any speed, steps stay near the slowdown and prompts move at the floor at least", () => {
  const machine = fc.record({
    /** Seconds of a step of one decode row, and of each more. */
    base: fc.double({ min: 0.002, max: 0.05, noNaN: true }),
    decode: fc.double({ min: 0, max: 0.004, noNaN: true }),
    /** Of a row of a prompt at its start, and what each position before it adds. */
    row: fc.double({ min: 0.0001, max: 0.004, noNaN: true }),
    position: fc.double({ min: 0, max: 1e-6, noNaN: true }),
    decodeRows: fc.integer({ min: 1, max: 16 }),
    slowdown: fc.constantFrom(1.2, 1.5, 2, 3),
  });
  fc.assert(
    fc.property(machine, ({ base, decode, row, position, decodeRows, slowdown }) => {
      const floor = 2;
      const budget = new PrefillBudget({ slowdown, floor });
      const without = base + decode * decodeRows;
      const ratios: number[] = [];
      let steps = 0;
      for (let done = 0; done < 8192; steps++) {
        const rows = Math.min(512, budget.rows(decodeRows), 8192 - done);
        const each = row + position * done;
        const seconds = without + rows * each;
        budget.observe({ seconds, decodeRows, promptRows: rows });
        done += rows;
        // Where even the floor takes longer, nothing can be said.
        if (floor * each <= (slowdown - 1) * without) ratios.push(seconds / without);
      }
      expect(steps).toBeLessThan((8192 / floor) * 1.1);
      ratios.sort((a, b) => a - b);
      if (ratios.length > 100) expect(ratios[Math.floor(ratios.length * 0.99)]).toBeLessThanOrEqual(slowdown * 1.2);
    }),
    { seed: 15, numRuns: 60 },
  );
});
