import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DraftCosts } from "../../../server/engine/draft-costs.ts";
import { draftLengths } from "../../../server/engine/speculation.ts";
import { setUp } from "../../support/scheduler.ts";

const PRIOR = 1.5;

/** A machine on which a step takes `fixed`, and each row so much more. */
const timeOf = (fixed: number, perRow: number) => (rows: number, draftRows: number) => {
  return { rows, draftRows, seconds: fixed + perRow * (rows + draftRows) };
};

describe("the cost of drafts", () => {
  test("is the one given after a step without drafts, until one with drafts has been seen", () => {
    const costs = new DraftCosts(PRIOR);
    const step = timeOf(0.006, 0.002);
    expect(costs.stepCost(1)).toBeNull();
    costs.observe(step(1, 3));
    expect(costs.stepCost(1)).toBeNull();
    costs.observe(step(1, 0));
    expect(costs.stepCost(1)).toBe(PRIOR);
    costs.observe(step(1, 3));
    expect(costs.stepCost(1)).toBeCloseTo(3, 9);
  });

  test("is what the machine's is, for each number of rows and draft", () => {
    const time = fc.double({ min: 1e-4, max: 0.1, noNaN: true });
    const lengths = fc.array(fc.integer({ min: 1, max: 8 }), { minLength: 1, maxLength: 30 });
    fc.assert(
      fc.property(time, time, fc.integer({ min: 1, max: 32 }), lengths, (fixed, perRow, rows, drafts) => {
        fc.pre(fixed / perRow < 15);
        const costs = new DraftCosts(PRIOR);
        const step = timeOf(fixed, perRow);
        costs.observe(step(rows, 0));
        for (const draftRows of drafts) costs.observe(step(rows, draftRows));
        expect(costs.stepCost(rows)).toBeCloseTo(fixed / perRow, 6);
      }),
    );
  });

  test("of a number of rows that is new is that of the nearest, beside the new one's own time", () => {
    const costs = new DraftCosts(PRIOR);
    const [few, many] = [timeOf(0.006, 0.002), timeOf(0.01, 0.001)];
    for (const draftRows of [0, 4]) costs.observe(few(1, draftRows));
    for (const draftRows of [0, 4]) costs.observe(many(8, draftRows));
    costs.observe({ rows: 3, draftRows: 0, seconds: 0.014 });
    expect(costs.stepCost(3)).toBeCloseTo(7 - 3, 9);
    expect(costs.stepCost(4)).toBeNull();
  });

  test("follows the machine, and is not moved far by one slow step", () => {
    const costs = new DraftCosts(PRIOR);
    const see = (fixed: number, perRow: number, times: number) => {
      for (let i = 0; i < times; i++)
        for (const draftRows of [0, 4]) costs.observe(timeOf(fixed, perRow)(1, draftRows));
    };
    see(0.006, 0.002, 5);
    costs.observe({ rows: 1, draftRows: 4, seconds: 5 });
    // The estimate went a fifth of the way to twice itself: 2 ms to 2.4, beside 8.
    expect(costs.stepCost(1)).toBeCloseTo(8 / 2.4 - 1, 9);
    see(0.001, 0.004, 60);
    expect(costs.stepCost(1)).toBeCloseTo(0.25, 2);
  });

  test("lets a step without drafts be measured now and then, and forgets what has not been measured for long", () => {
    const costs = new DraftCosts(PRIOR);
    const step = timeOf(0.006, 0.002);
    costs.observe(step(1, 0));
    let withDrafts = 0;
    while (costs.stepCost(1) !== null) {
      costs.observe(step(1, 4));
      withDrafts += 1;
    }
    expect(withDrafts).toBe(64);
    costs.observe(step(1, 0));
    expect(costs.stepCost(1)).toBeCloseTo(3, 9);
    for (let i = 0; i < 256; i++) costs.observe(step(1, 0));
    expect(costs.stepCost(1)).toBe(PRIOR);
  });

  test("is always one that drafts can be measured out by, whatever steps take", () => {
    const seen = fc.record({
      rows: fc.integer({ min: 1, max: 4 }),
      draftRows: fc.integer({ min: 0, max: 8 }),
      seconds: fc.oneof(fc.constant(0), fc.double({ min: 0, max: 10, noNaN: true })),
    });
    fc.assert(
      fc.property(fc.array(seen, { maxLength: 60 }), fc.integer({ min: 1, max: 5 }), (steps, rows) => {
        const costs = new DraftCosts(PRIOR);
        for (const step of steps) costs.observe(step);
        const cost = costs.stepCost(rows);
        if (cost === null) return;
        expect(cost).toBeGreaterThanOrEqual(0);
        expect(cost).toBeLessThanOrEqual(16);
        // A draft that cannot come true is never worth a row.
        expect(draftLengths([[0]], rows, cost)).toEqual([0]);
      }),
    );
  });
});

/** Steps of a sequence that repeats itself, until `steps` have run, on such a machine; how many of the last half had drafts. */
function drafted(fixed: number, perRow: number): number {
  const { add, scheduler } = setUp({}, { speculation: { maxDraft: 4, stepCost: PRIOR, learnCost: true } });
  add("a", [7, 7, 7, 7], 200);
  let count = 0;
  for (let i = 0; i < 60; i++) {
    const [planned] = scheduler.plan()!.sequences;
    const { draft = [], tokenIds } = planned!;
    if (i >= 30 && draft.length > 0) count += 1;
    // Half of the drafts' tokens come true.
    const tokens = [...draft.slice(0, Math.floor(draft.length / 2)), 7];
    scheduler.commit([{ requestId: "a", tokenIds: tokens, finished: false }], fixed + perRow * tokenIds.length);
  }
  return count;
}

test("a scheduler runs drafts beside rows of prompts at the cost given, since such steps tell nothing", () => {
  const { add, scheduler } = setUp({}, { maxRows: 9, speculation: { maxDraft: 2, stepCost: 100, learnCost: true } });
  const step = () => {
    const { sequences } = scheduler.plan()!;
    scheduler.commit(
      sequences.flatMap(({ requestId, logits }) =>
        logits === "none" ? [] : { requestId, tokenIds: [7], finished: false },
      ),
      1,
    );
    return sequences.map(({ requestId, draft = [] }) => `${requestId}+${draft}`);
  };
  add("a", [7, 7, 7, 7], 20);
  expect(step()).toEqual(["a+"]);
  add("b", [1, 2, 3, 4, 5], 20);
  expect(step()).toEqual(["a+7,7", "b+"]);
});

test("a scheduler runs drafts where rows are cheap, and none where each costs a step", () => {
  expect(drafted(0.009, 0.001)).toBeGreaterThan(25);
  expect(drafted(0, 0.01)).toBeLessThan(3);
});
