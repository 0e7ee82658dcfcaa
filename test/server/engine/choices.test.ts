import { setImmediate as eventLoopTurn } from "node:timers/promises";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { SamplingParams } from "../../../server/engine/types.ts";
import { alone, BLOCK, collect, dense, idsOf, requestOf, setUp, sparq, vocabSize } from "../../support/engine.ts";
import { gate } from "../../support/fake-engine.ts";

const prompt = (length: number) => Array.from({ length }, (_, i) => (i * 5 + 3) % vocabSize);

/** The choices of one request, each with a seed of its own. */
function choicesOf(n: number, promptIds: number[], sampling: Partial<SamplingParams> = {}, batch = "batch") {
  return Array.from({ length: n }, (_, i) => {
    const request = requestOf(`${batch} ${i}`, promptIds, { temperature: 1, seed: i, ...sampling });
    return { ...request, promptIds, batch };
  });
}

describe("choices of one prompt", () => {
  test.each([
    ["in the middle of a block", 10],
    ["at a block's end", 12],
    ["right after a block", 9],
    ["of one token", 1],
  ])("compute it once, %s, but for its last row, and get what each gets alone", async (_, length) => {
    const { engine, runner } = setUp({ prefixCaching: false, scheduler: { maxRows: 64, maxRunning: 8 } });
    const requests = choicesOf(5, prompt(length), { maxTokens: 20 });
    const got = await Promise.all(requests.map((request) => collect(engine, request)));
    expect(got.map(({ events }) => idsOf(events))).toEqual(requests.map((request) => alone(request)));
    expect(new Set(got.map(({ events }) => idsOf(events).join())).size).toBe(5);
    const rows = runner.steps.flat().filter(({ contextLength, denseUntil }) => contextLength < denseUntil);
    expect(rows.map(({ tokenIds }) => tokenIds.length)).toEqual([length, 1, 1, 1, 1]);
    expect(got.map(({ summary }) => summary.cachedPromptTokens)).toEqual([0, ...Array(4).fill(length - 1)]);
    // Four of the five need a copy of the last block, if another position of it is read.
    expect(runner.copies).toBe((length - 1) % BLOCK === 0 ? 0 : 4);
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, blocks: { owned: 0 } });
  });

  test("share blocks while they run", async () => {
    const { engine } = setUp({ prefixCaching: false, blocks: 20, scheduler: { maxRows: 64, maxRunning: 8 } });
    const runs = choicesOf(4, prompt(42), { maxTokens: 5 }).map((request) => collect(engine, request));
    let most = 0;
    while (engine.stats().running + engine.stats().waiting > 0 || most === 0) {
      most = Math.max(most, engine.stats().blocks.owned);
      await eventLoopTurn();
    }
    await Promise.all(runs);
    // Ten full blocks for all; for each its half-filled one and the next. The first is a step ahead, and gone by then.
    expect(most).toBe(10 + 3 * 2);
  });

  test("begin as slots allow; those that come later use what is cached", async () => {
    const { engine, runner } = setUp({ scheduler: { maxRows: 64, maxRunning: 2 } });
    const requests = choicesOf(5, prompt(10), { maxTokens: 3 });
    const got = await Promise.all(requests.map((request) => collect(engine, request)));
    expect(got.map(({ events }) => idsOf(events))).toEqual(requests.map((request) => alone(request)));
    const rows = runner.steps.flat().filter(({ contextLength, denseUntil }) => contextLength < denseUntil);
    expect(rows.map(({ tokenIds }) => tokenIds.length)).toEqual([10, 1, 2, 2, 2]);
  });

  test("of which the first is over with its first token, or leaves while it is computed", async () => {
    const { engine } = setUp({ scheduler: { maxRows: 4, maxRunning: 4 } });
    const [short, ...others] = choicesOf(3, prompt(10), { maxTokens: 9 });
    const first = { ...short!, sampling: { ...short!.sampling, maxTokens: 1 } };
    const got = await Promise.all([first, ...others].map((request) => collect(engine, request)));
    expect(got.map(({ events }) => idsOf(events))).toEqual([first, ...others].map((request) => alone(request)));

    const half = gate();
    const leaving = setUp({
      scheduler: { maxRows: 4, maxRunning: 4 },
      beforeStep: (_, step) => (step === 1 ? half.open() : undefined),
    });
    const requests = choicesOf(3, prompt(10), { maxTokens: 9 });
    const left = new AbortController();
    const runs = requests.map((request, i) => collect(leaving.engine, request, i === 0 ? left.signal : undefined));
    const outcomes = Promise.allSettled(runs);
    await half.opened;
    expect(leaving.engine.stats()).toMatchObject({ running: 1, waiting: 2 });
    left.abort(new Error("gone"));
    const [gone, ...rest] = await outcomes;
    expect(gone).toMatchObject({ status: "rejected", reason: { message: "gone" } });
    expect(rest.map((r) => r.status === "fulfilled" && idsOf(r.value.events))).toEqual(
      requests.slice(1).map((request) => alone(request)),
    );
  });

  test("are those of one batch alone", async () => {
    const { engine, runner } = setUp({ prefixCaching: false, scheduler: { maxRows: 64, maxRunning: 8 } });
    const shared = prompt(10);
    const requests = [
      ...choicesOf(2, shared, {}, "a"),
      ...choicesOf(2, shared, {}, "b"), // the same array, but another batch
      ...choicesOf(2, [...shared], {}, "c"),
    ];
    const got = await Promise.all(requests.map((request) => collect(engine, request)));
    expect(got.map(({ events }) => idsOf(events))).toEqual(requests.map((request) => alone(request)));
    const rows = runner.steps.flat().filter(({ contextLength, denseUntil }) => contextLength < denseUntil);
    expect(rows.map(({ tokenIds }) => tokenIds.length).sort((x, y) => y - x)).toEqual([10, 10, 10, 10, 1, 1]);
  });

  test("among others, with any cache, leaving at any time", async () => {
    const group = fc.record({
      n: fc.integer({ min: 1, max: 5 }),
      length: fc.integer({ min: 1, max: 14 }),
      maxTokens: fc.integer({ min: 1, max: 14 }),
      attention: fc.constantFrom(sparq, dense),
      priority: fc.integer({ min: 0, max: 1 }),
      /** Turns of the event loop before it comes. */
      delay: fc.integer({ min: 0, max: 12 }),
      /** Which choice leaves, and after how many turns. */
      leaves: fc.option(fc.record({ choice: fc.nat(4), turns: fc.nat(25) })),
    });
    const scenario = fc.record({
      groups: fc.array(group, { minLength: 1, maxLength: 5 }),
      spareBlocks: fc.integer({ min: 0, max: 8 }),
      maxRunning: fc.integer({ min: 1, max: 6 }),
      spareRows: fc.integer({ min: 0, max: 12 }),
      prefixCaching: fc.boolean(),
      layers: fc.constantFrom(null, 3, 8),
    });
    const seen = { preemptions: 0, copies: 0, left: 0 };
    await fc.assert(
      fc.asyncProperty(scenario, async ({ groups, spareBlocks, maxRunning, spareRows, prefixCaching, layers }) => {
        const blocks = Math.max(...groups.map((g) => Math.ceil((g.length + g.maxTokens - 1) / BLOCK))) + spareBlocks;
        const scheduler = { maxRunning, maxRows: maxRunning + spareRows };
        const { engine, runner } = setUp({ blocks, prefixCaching, scheduler, layers });
        const runs = groups.map(async ({ n, length, maxTokens, attention, priority, delay, leaves }, index) => {
          for (let turn = 0; turn < delay; turn++) await eventLoopTurn();
          const requests = choicesOf(n, prompt(length), { maxTokens }, `g${index}`);
          const choices = requests.map(async (request, i) => {
            const controller = new AbortController();
            const run = collect(engine, { ...request, attention, priority }, controller.signal);
            run.catch(() => {});
            if (leaves?.choice === i) {
              for (let turn = 0; turn < leaves.turns; turn++) await eventLoopTurn();
              controller.abort();
            }
            try {
              expect(idsOf((await run).events)).toEqual(alone({ ...request, attention }));
            } catch (error) {
              if (!controller.signal.aborted) throw error;
              expect(error).toBe(controller.signal.reason);
              seen.left += 1;
            }
          });
          await Promise.all(choices);
        });
        await Promise.all(runs);
        await eventLoopTurn();
        const { running, waiting, blocks: counts, preemptions } = engine.stats();
        expect({ running, waiting, owned: counts.owned }).toEqual({ running: 0, waiting: 0, owned: 0 });
        seen.preemptions += preemptions;
        seen.copies += runner.copies;
        await engine.close();
      }),
      { seed: 19, numRuns: 150 },
    );
    expect(seen.preemptions).toBeGreaterThan(10);
    expect(seen.copies).toBeGreaterThan(50);
    expect(seen.left).toBeGreaterThan(10);
  });
});
