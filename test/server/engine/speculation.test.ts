import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Acceptance, chancesOf, draftLengths, Speculation } from "../../../server/engine/speculation.ts";

const draft = (tokens: number[], match = 2) => ({ tokens, match });
const ones = (length: number) => new Array<number>(length).fill(1);

describe("draft lengths", () => {
  test("are those that give a step the most tokens in its time", () => {
    const chance = fc.double({ min: 0, max: 1, noNaN: true });
    // A draft's chances are products of rates, so they never rise.
    const chances = fc
      .array(chance, { maxLength: 4 })
      .map((rates) => rates.map((_, i) => product(rates.slice(0, i + 1))));
    const drafts = fc.array(chances, { maxLength: 4 });
    const stepCost = fc.double({ min: 0, max: 20, noNaN: true });
    const speed = (all: number[][], lengths: number[], rows: number, cost: number) => {
      const run = all.flatMap((own, i) => own.slice(0, lengths[i]));
      return (rows + run.reduce((sum, p) => sum + p, 0)) / (cost + rows + run.length);
    };
    fc.assert(
      fc.property(drafts, fc.integer({ min: 1, max: 8 }), stepCost, (all, others, cost) => {
        const rows = Math.max(others, all.length);
        const best = Math.max(...combinations(all).map((lengths) => speed(all, lengths, rows, cost)));
        expect(speed(all, draftLengths(all, rows, cost), rows, cost)).toBeCloseTo(best, 9);
      }),
    );
  });

  test("shrink as more sequences share a step", () => {
    const likely = [0.8, 0.64, 0.512, 0.41];
    const lengthAmong = (rows: number) => draftLengths([likely], rows, 4)[0];
    expect([1, 2, 4, 8, 16, 17].map(lengthAmong)).toEqual([4, 3, 2, 1, 0, 0]);
  });

  test("go to the surest drafts first", () => {
    expect(draftLengths([[0.3], [0.9, 0.81], []], 3, 4)).toEqual([0, 2, 0]);
  });
});

describe("acceptance", () => {
  test("follows what came true, by the length of the match", () => {
    const acceptance = new Acceptance();
    for (let i = 0; i < 60; i++) acceptance.learn(draft([7], 4), [7]);
    for (let i = 0; i < 60; i++) acceptance.learn(draft([7], 2), [8]);
    expect(acceptance.rate({ match: 4 }, 0)).toBeGreaterThan(0.99);
    expect(acceptance.rate({ match: 3 }, 0)).toBe(0.5);
    expect(acceptance.rate({ match: 2 }, 0)).toBeLessThan(0.01);
  });

  test("takes a token that came true for a longer match behind it", () => {
    const acceptance = new Acceptance();
    for (let i = 0; i < 60; i++) acceptance.learn(draft([1, 2, 3], 3), [1, 9, 3]);
    expect(acceptance.rate({ match: 3 }, 0)).toBeGreaterThan(0.99);
    expect(acceptance.rate({ match: 4 }, 0)).toBeLessThan(0.01); // from the second token; the third tells nothing
    const [first, second, third] = chancesOf(draft([1, 2, 3], 3), acceptance);
    expect(first).toBeGreaterThan(0.99);
    expect(second).toBeLessThan(0.01);
    expect(third).toBeLessThan(second!);
  });

  test("is never out of range, and chances never rise", () => {
    const lesson = fc.record({
      tokens: fc.array(fc.nat(2), { maxLength: 6 }),
      match: fc.integer({ min: 2, max: 4 }),
      next: fc.array(fc.nat(2), { minLength: 1, maxLength: 7 }),
    });
    fc.assert(
      fc.property(fc.array(lesson, { maxLength: 60 }), fc.integer({ min: 2, max: 4 }), (lessons, match) => {
        const acceptance = new Acceptance();
        for (const { tokens, match, next } of lessons) acceptance.learn({ tokens, match }, next);
        const chances = chancesOf(draft(ones(8), match), acceptance);
        for (const [i, chance] of [1, ...chances].entries()) {
          expect(chance).toBeGreaterThanOrEqual(0);
          expect(chance).toBeLessThanOrEqual(chances[i - 2] ?? 1);
        }
      }),
    );
  });
});

test("a sequence whose drafts are not run is found out when it begins to repeat", () => {
  const text: number[] = Array.from({ length: 40 }, (_, i) => (i * i) % 97);
  const speculation = new Speculation(text);
  const step = (token: number) => {
    speculation.propose(8);
    speculation.learn([token]);
    text.push(token);
  };
  // Pairs recur, and what follows them is new each time.
  for (let i = 0; i < 60; i++) for (const token of [1, 2, 100 + i]) step(token);
  expect(speculation.acceptance.rate({ match: 2 }, 0)).toBeLessThan(0.1);
  for (let i = 0; i < 40; i++) step(text[i]!);
  const proposal = speculation.propose(8);
  expect(chancesOf(proposal, speculation.acceptance)[0]).toBeGreaterThan(0.9);
});

const product = (factors: readonly number[]) => factors.reduce((a, b) => a * b, 1);

/** All choices of a length for each draft. */
function combinations(drafts: readonly (readonly number[])[]): number[][] {
  return drafts.reduce<number[][]>(
    (all, { length }) => all.flatMap((lengths) => Array.from({ length: length + 1 }, (_, n) => [...lengths, n])),
    [[]],
  );
}
