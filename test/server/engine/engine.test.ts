import { setImmediate as eventLoopTurn } from "node:timers/promises";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { GenerateRequest } from "../../../server/engine/types.ts";
import {
  alone,
  BLOCK,
  collect,
  dense,
  EOS,
  idsOf,
  requestOf,
  SPECIAL,
  scoring,
  scriptedEngine,
  setUp,
  sparq,
  textOf,
  tokenizer,
  vocabSize,
} from "../../support/engine.ts";
import { gate } from "../../support/fake-engine.ts";

describe("a request alone", () => {
  test("gets its tokens, one event each, the last with the reason", async () => {
    const { engine } = setUp();
    const request = requestOf("a", [3, 4, 5]);
    const { events, summary } = await collect(engine, request);
    expect(idsOf(events)).toEqual(alone(request));
    expect(events.map(({ finishReason }) => finishReason)).toEqual([...new Array(7).fill(null), "length"]);
    expect(textOf(events)).toBe(tokenizer.decode(idsOf(events), { skipSpecialTokens: true }));
    expect(summary).toEqual({ promptTokens: 3, cachedPromptTokens: 0, completionTokens: 8, preemptions: 0 });
  });

  test("ends at the context's end", async () => {
    const { engine } = setUp();
    const { events } = await collect(engine, requestOf("a", new Array(60).fill(3), { maxTokens: 100 }));
    expect(events).toHaveLength(4);
    expect(events.at(-1)!.finishReason).toBe("length");
    const { events: one } = await collect(engine, requestOf("b", new Array(63).fill(3), { maxTokens: 100 }));
    expect(one).toMatchObject([{ finishReason: "length" }]);
  });

  test("of no tokens yields none and runs nothing", async () => {
    const { engine, runner } = setUp();
    const { events, summary } = await collect(engine, requestOf("a", [3], { maxTokens: 0 }));
    expect(events).toEqual([]);
    expect(summary).toEqual({ promptTokens: 1, cachedPromptTokens: 0, completionTokens: 0, preemptions: 0 });
    expect(runner.steps).toEqual([]);
  });

  test("ends at an end-of-sequence token, whose text is not shown", async () => {
    const { events } = await collect(scriptedEngine([3, 0, EOS]), requestOf("a", [4], { ignoreEos: false }));
    expect(events).toEqual([
      { tokenId: 3, text: "b", finishReason: null },
      { tokenId: 0, text: "a", finishReason: null },
      { tokenId: EOS, text: "", finishReason: "stop" },
    ]);
  });

  test("goes on after it if told to", async () => {
    const { events } = await collect(scriptedEngine([3, EOS, 0]), requestOf("a", [4], { maxTokens: 3 }));
    expect(textOf(events)).toBe("ba");
    expect(events.at(-1)!.finishReason).toBe("length");
  });

  test("ends at a stop string over several tokens, and leaks none of it", async () => {
    const { events } = await collect(scriptedEngine([3, 0, 4, 3, 0]), requestOf("a", [4], { stop: ["a b"] }));
    expect(events).toEqual([
      { tokenId: 3, text: "b", finishReason: null },
      { tokenId: 0, text: "", finishReason: null },
      { tokenId: 4, text: "", finishReason: null },
      { tokenId: 3, text: "", finishReason: "stop" },
    ]);
  });

  test("shows at the end what might have become a stop string", async () => {
    const stop = ["a b"];
    const { events } = await collect(scriptedEngine([0, 4]), requestOf("a", [3], { stop, maxTokens: 2 }));
    expect(events.map(({ text }) => text)).toEqual(["", "a "]);
    const cut = await collect(scriptedEngine([0, 4, EOS]), requestOf("a", [3], { stop, ignoreEos: false }));
    expect(cut.events.map(({ text }) => text)).toEqual(["", "", "a "]);
  });

  test("ends at a stop string that spells a special token", async () => {
    const { events } = await collect(scriptedEngine([3, SPECIAL, 0]), requestOf("a", [4], { stop: ["<|call|>"] }));
    expect(events).toMatchObject([{ text: "b" }, { tokenId: SPECIAL, text: "", finishReason: "stop" }]);
  });

  test("shows no half of a character", async () => {
    const [half, rest] = [vocabSize - 2, vocabSize - 1];
    const { events } = await collect(scriptedEngine([half, rest, half]), requestOf("a", [4], { maxTokens: 3 }));
    expect(events.map(({ text }) => text)).toEqual(["", "🙂", "\ufffd"]);
  });

  test("draws the same tokens from the same seed, others from others", async () => {
    const { engine } = setUp();
    const run = async (id: string, seed?: number) =>
      idsOf(
        (await collect(engine, requestOf(id, [3, 4], { temperature: 2, maxTokens: 30, ...(seed && { seed }) }))).events,
      );
    expect(await run("a", 5)).toEqual(await run("b", 5));
    expect(await run("a", 5)).not.toEqual(await run("b", 6));
    expect(await run("a")).not.toEqual(await run("b"));
  });
});

test("consumers get what a step gave when the next one has begun, and before it ends", async () => {
  const seen: string[] = [];
  const received = Array.from({ length: 4 }, () => gate());
  const { engine } = setUp({
    beforeStep: async (_, step) => {
      seen.push(`step ${step}`);
      // Never ends if the step before it is not handed out meanwhile.
      if (step > 0) await received[step - 1]!.opened;
    },
  });
  let tokens = 0;
  for await (const { finishReason } of engine.generate(requestOf("a", [3], { maxTokens: 3 }))) {
    seen.push(`token ${tokens} ${finishReason}`);
    received[tokens++]!.open();
  }
  expect(seen).toEqual(["step 0", "step 1", "token 0 null", "step 2", "token 1 null", "token 2 length"]);
});

describe("refusals", () => {
  test.each<[string, GenerateRequest, object]>([
    ["no tokens", requestOf("a", []), { code: "empty_prompt", message: "the prompt has no tokens" }],
    [
      "one token over the context",
      requestOf("a", new Array(64).fill(0)),
      { code: "context_overflow", message: expect.stringMatching(/64 tokens; the context is 64/) },
    ],
    [
      "an unknown token",
      requestOf("a", [3, vocabSize]),
      { code: "token_out_of_range", message: expect.stringContaining(`prompt token 1 is ${vocabSize}`) },
    ],
    ["half a token", requestOf("a", [0.5]), { code: "token_out_of_range" }],
    ["a negative token", requestOf("a", [-1]), { code: "token_out_of_range" }],
    [
      "more than the cache",
      requestOf("a", new Array(30).fill(0), { maxTokens: 20 }),
      { code: "cache_too_small", message: expect.stringContaining("needs 13 blocks of 4, the cache has 8") },
    ],
  ])("%s", async (_, request, error) => {
    const { engine, runner } = setUp({ blocks: 8 });
    await expect(engine.generate(request).next()).rejects.toMatchObject({ name: "EngineError", ...error });
    expect(runner.steps).toEqual([]);
    const next = requestOf("a", [3]);
    expect(idsOf((await collect(engine, next)).events)).toEqual(alone(next));
  });

  test("an id that is running", async () => {
    const { engine } = setUp();
    const first = collect(engine, requestOf("a", [3]));
    await expect(collect(engine, requestOf("a", [3]))).rejects.toMatchObject({ code: "duplicate_id" });
    await first;
    await collect(engine, requestOf("a", [3]));
  });

  test("a signal that was aborted before", async () => {
    const { engine, runner } = setUp();
    await expect(collect(engine, requestOf("a", [3]), AbortSignal.abort("gone"))).rejects.toBe("gone");
    expect(runner.steps).toEqual([]);
  });
});

describe("many requests", () => {
  const request = fc.record({
    family: fc.integer({ min: 0, max: 1 }),
    shared: fc.integer({ min: 0, max: 12 }),
    own: fc.array(fc.nat(vocabSize - 1), { minLength: 1, maxLength: 8 }),
    maxTokens: fc.integer({ min: 0, max: 24 }),
    temperature: fc.constantFrom(0, 0.7, 3),
    topK: fc.constantFrom(0, 5),
    topP: fc.constantFrom(1, 0.8),
    seed: fc.nat(1000),
    attention: fc.constantFrom(sparq, dense),
    scores: fc.boolean(),
    /** Turns of the event loop before it comes. */
    delay: fc.integer({ min: 0, max: 15 }),
    /** Tokens after which its client leaves; by aborting or by leaving the loop. */
    patience: fc.option(fc.integer({ min: 0, max: 10 }), { freq: 5 }),
    byAbort: fc.boolean(),
  });
  const scenario = fc.record({
    requests: fc.array(request, { minLength: 4, maxLength: 10 }),
    spareBlocks: fc.integer({ min: 0, max: 4 }),
    maxRunning: fc.integer({ min: 1, max: 6 }),
    spareRows: fc.integer({ min: 0, max: 16 }),
    maxScoredRows: fc.integer({ min: 1, max: 8 }),
    prefixCaching: fc.boolean(),
    speculation: fc.option(
      fc.record({ maxDraft: fc.integer({ min: 1, max: 9 }), stepCost: fc.constantFrom(0.5, 4, 100) }),
      { freq: 3 },
    ),
    habit: fc.constantFrom(0, 3, 30),
    layers: fc.constantFrom(null, 2, 5, 12),
  });

  test("get the tokens and the scores that each would get alone, under any mix, with any cache", async () => {
    const seen = { preemptions: 0, parked: 0, cached: 0, aborted: 0, scored: 0, accepted: 0, refused: 0 };
    await fc.assert(
      fc.asyncProperty(
        scenario,
        async ({ requests, spareBlocks, prefixCaching, habit, spareRows, layers, ...settings }) => {
          const blocksOf = (r: (typeof requests)[number]) =>
            Math.ceil((r.shared + r.own.length + Math.max(1, r.maxTokens) - 1) / BLOCK);
          const blocks = Math.max(...requests.map(blocksOf)) + spareBlocks;
          const scheduler = { maxRows: settings.maxRunning + spareRows, ...settings };
          const { engine, runner } = setUp({ blocks, prefixCaching, scheduler, habit, layers });
          const runs = requests.map(async (r, i) => {
            const { maxTokens, temperature, topK, topP, seed, patience } = r;
            const sampling = { maxTokens, temperature, topK, topP, seed, stop: [], ignoreEos: true };
            const promptIds = [...Array.from({ length: r.shared }, (_, p) => (p * 3 + r.family) % vocabSize), ...r.own];
            const unscored = { id: `r${i}`, promptIds, sampling, attention: r.attention };
            const { request: scored, answers, expected: scores } = scoring(unscored, 2, habit);
            const generate = r.scores ? scored : unscored;
            for (let turn = 0; turn < r.delay; turn++) await eventLoopTurn();
            const controller = new AbortController();
            const ids: number[] = [];
            try {
              for await (const { tokenId } of engine.generate(generate, controller.signal)) {
                ids.push(tokenId);
                expect(answers).toHaveLength(r.scores ? 1 : 0);
                if (patience === null || ids.length <= patience) continue;
                seen.aborted += 1;
                if (!r.byAbort) break;
                controller.abort();
              }
            } catch (error) {
              expect(error).toBe(controller.signal.reason);
            }
            const expected = alone(generate, habit);
            expect(ids).toEqual(patience === null ? expected : expected.slice(0, ids.length));
            if (r.scores && (patience === null || ids.length > 0)) {
              expect(answers).toEqual([scores]);
              seen.scored += 1;
            }
            if (patience !== null) expect(ids.length).toBeGreaterThanOrEqual(Math.min(patience, expected.length));
          });
          await Promise.all(runs);
          await eventLoopTurn();
          const { running, waiting, blocks: counts, ...stats } = engine.stats();
          expect({ running, waiting, owned: counts.owned }).toEqual({ running: 0, waiting: 0, owned: 0 });
          for (const step of runner.steps) {
            expect(step.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0)).toBeLessThanOrEqual(scheduler.maxRows);
            seen.parked += step.filter((s) => (s.layers?.begin ?? 0) > 0).length;
          }
          seen.preemptions += stats.preemptions;
          seen.cached += stats.cachedPromptTokens;
          seen.accepted += stats.acceptedDraftTokens;
          seen.refused += stats.draftTokens - stats.acceptedDraftTokens;
          await engine.close();
        },
      ),
      { seed: 14, numRuns: 120 },
    );
    // The scenarios do what they are for.
    expect(seen.preemptions).toBeGreaterThan(10);
    expect(seen.parked).toBeGreaterThan(100);
    expect(seen.cached).toBeGreaterThan(100);
    expect(seen.aborted).toBeGreaterThan(50);
    expect(seen.scored).toBeGreaterThan(200);
    expect(seen.accepted).toBeGreaterThan(100);
    expect(seen.refused).toBeGreaterThan(100);
  });

  test("that come in one turn start in one step", async () => {
    const { engine, runner } = setUp();
    await Promise.all([0, 1, 2].map((i) => collect(engine, requestOf(`r${i}`, [i]))));
    expect(runner.steps[0]).toHaveLength(3);
    expect(runner.steps).toHaveLength(8);
  });

  test("share cached prompts only under the same salt", async () => {
    const { engine } = setUp();
    const promptIds = Array.from({ length: 13 }, (_, i) => i % vocabSize);
    const run = async (cacheSalt?: string) =>
      (await collect(engine, { ...requestOf("a", promptIds), ...(cacheSalt && { cacheSalt }) })).summary;
    expect(await run()).toMatchObject({ cachedPromptTokens: 0 });
    expect(await run()).toMatchObject({ cachedPromptTokens: 12 });
    expect(await run("tenant")).toMatchObject({ cachedPromptTokens: 0 });
    expect(await run("tenant")).toMatchObject({ cachedPromptTokens: 12 });
    expect(engine.stats()).toMatchObject({ promptTokens: 52, cachedPromptTokens: 24, generatedTokens: 32 });
  });
});
