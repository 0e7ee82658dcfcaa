import { setImmediate as eventLoopTurn } from "node:timers/promises";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { AttentionSettings, StepSequence } from "../../../attention/types.ts";
import { createEngine, type EngineOptions, type StepRunner } from "../../../server/engine/engine.ts";
import type { Engine, GenerateRequest, SamplingParams, TokenEvent } from "../../../server/engine/types.ts";
import { FakeRunner, type FakeRunnerOptions, generateAlone } from "../../support/fake-model.ts";
import { TableTokenizer } from "../../support/table-tokenizer.ts";

const BLOCK = 4;
const EOS = 1;
const SPECIAL = 2;
// Letters, a replacement character, and two halves of an emoji.
const tokenizer = new TableTokenizer(
  ["a", "</s>", "<|call|>", "b", " ", "é", "ab", "\ufffd", Uint8Array.of(0xf0, 0x9f), Uint8Array.of(0x99, 0x82)],
  { eos: [EOS], special: [SPECIAL] },
);
const vocabSize = tokenizer.vocabSize;
const maxPositions = 64;

const sparq: AttentionSettings = { mode: "sparq", r: 8, k: 16, local: 4, meanValue: true, groupSum: "softmax" };
const dense: AttentionSettings = { ...sparq, mode: "dense" };

const greedy: SamplingParams = { maxTokens: 8, temperature: 0, topP: 1, topK: 0, stop: [], ignoreEos: true };

function requestOf(id: string, promptIds: number[], sampling: Partial<SamplingParams> = {}): GenerateRequest {
  return { id, promptIds, sampling: { ...greedy, ...sampling }, attention: sparq };
}

interface SetUp extends Partial<Omit<EngineOptions, "cache">> {
  readonly blocks?: number;
  readonly prefixCaching?: boolean;
  readonly beforeStep?: FakeRunnerOptions["beforeStep"];
}

function setUp({ blocks = 64, prefixCaching = true, beforeStep, ...options }: SetUp = {}) {
  const runner = new FakeRunner({ vocabSize, blocks, blockSize: BLOCK, ...(beforeStep && { beforeStep }) });
  const engine = createEngine({
    runner,
    config: { vocabSize, maxPositions, eosTokenIds: [] },
    tokenizer,
    cache: { blocks, blockSize: BLOCK, prefixCaching },
    checked: true,
    ...options,
  });
  return { runner, engine };
}

async function collect(engine: Engine, request: GenerateRequest, signal?: AbortSignal) {
  const events: TokenEvent[] = [];
  const generation = engine.generate(request, signal);
  for (;;) {
    const { done, value } = await generation.next();
    if (done) return { events, summary: value };
    events.push(value);
  }
}

const idsOf = (events: readonly TokenEvent[]) => events.map(({ tokenId }) => tokenId);
const textOf = (events: readonly TokenEvent[]) => events.map(({ text }) => text).join("");
const alone = (request: GenerateRequest) => generateAlone(request, vocabSize, maxPositions);

/** A runner without a store: `rowOf` gives a sequence's logits. */
function simpleRunner(rowOf: (sequence: StepSequence) => Float32Array): StepRunner {
  return {
    step: async (sequences) => ({
      logits: sequences.map((sequence) => (sequence.logits === "none" ? new Float32Array() : rowOf(sequence))),
      traffic: { scoreBytes: 0, gatherBytes: 0, denseBytes: 0, denseEquivalentBytes: 0 },
    }),
    close: () => {},
  };
}

/** An engine whose requests all get these tokens. */
function scriptedEngine(script: readonly number[]): Engine {
  const runner = simpleRunner(({ contextLength, tokenIds, denseUntil }) => {
    const row = new Float32Array(vocabSize);
    row[script[contextLength + tokenIds.length - denseUntil]!] = 9;
    return row;
  });
  return setUp({ runner }).engine;
}

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
    prefixCaching: fc.boolean(),
  });

  test("get the tokens that each would get alone, under any mix, with any cache", async () => {
    const seen = { preemptions: 0, cached: 0, aborted: 0 };
    await fc.assert(
      fc.asyncProperty(scenario, async ({ requests, spareBlocks, maxRunning, spareRows, prefixCaching }) => {
        const blocksOf = (r: (typeof requests)[number]) =>
          Math.ceil((r.shared + r.own.length + Math.max(1, r.maxTokens) - 1) / BLOCK);
        const blocks = Math.max(...requests.map(blocksOf)) + spareBlocks;
        const scheduler = { maxRunning, maxRows: maxRunning + spareRows };
        const { engine, runner } = setUp({ blocks, prefixCaching, scheduler });
        const runs = requests.map(async (r, i) => {
          const { maxTokens, temperature, topK, topP, seed, patience } = r;
          const sampling = { maxTokens, temperature, topK, topP, seed, stop: [], ignoreEos: true };
          const promptIds = [...Array.from({ length: r.shared }, (_, p) => (p * 3 + r.family) % vocabSize), ...r.own];
          const generate = { id: `r${i}`, promptIds, sampling, attention: r.attention };
          for (let turn = 0; turn < r.delay; turn++) await eventLoopTurn();
          const controller = new AbortController();
          const ids: number[] = [];
          try {
            for await (const { tokenId } of engine.generate(generate, controller.signal)) {
              ids.push(tokenId);
              if (patience === null || ids.length <= patience) continue;
              seen.aborted += 1;
              if (!r.byAbort) break;
              controller.abort();
            }
          } catch (error) {
            expect(error).toBe(controller.signal.reason);
          }
          const expected = alone(generate);
          expect(ids).toEqual(patience === null ? expected : expected.slice(0, ids.length));
          if (patience !== null) expect(ids.length).toBeGreaterThanOrEqual(Math.min(patience, expected.length));
        });
        await Promise.all(runs);
        await eventLoopTurn();
        const { running, waiting, blocks: counts, preemptions, cachedPromptTokens } = engine.stats();
        expect({ running, waiting, owned: counts.owned }).toEqual({ running: 0, waiting: 0, owned: 0 });
        for (const step of runner.steps) {
          expect(step.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0)).toBeLessThanOrEqual(scheduler.maxRows);
        }
        seen.preemptions += preemptions;
        seen.cached += cachedPromptTokens;
        await engine.close();
      }),
      { seed: 14, numRuns: 120 },
    );
    // The scenarios do what they are for.
    expect(seen.preemptions).toBeGreaterThan(10);
    expect(seen.cached).toBeGreaterThan(100);
    expect(seen.aborted).toBeGreaterThan(50);
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

describe("leaving", () => {
  const endless = requestOf("a", [3], { maxTokens: 60 });

  test("by abort frees the blocks at once, in the middle of a step too", async () => {
    const controller = new AbortController();
    const { engine } = setUp({
      beforeStep: (_, step) => {
        if (step !== 2) return;
        controller.abort(new Error("client gone"));
        expect(engine.stats()).toMatchObject({ running: 0, blocks: { owned: 0 } });
      },
    });
    const events: TokenEvent[] = [];
    const reading = (async () => {
      for await (const event of engine.generate(endless, controller.signal)) events.push(event);
    })();
    await expect(reading).rejects.toThrow("client gone");
    expect(events).toHaveLength(2);
    expect(engine.stats()).toMatchObject({ running: 0, generatedTokens: 2 });
  });

  test("by abort while its batch is sampled leaves a new request under its id alone", async () => {
    const large = 40_000; // sampling takes turns after every four rows
    const controller = new AbortController();
    const again: Promise<unknown>[] = [];
    let steps = 0;
    const runner = simpleRunner(() => new Float32Array(large));
    const step: StepRunner["step"] = async (sequences) => {
      // The second turn of the event loop from here is the first one within the sampling.
      if (steps++ === 0) {
        setImmediate(() =>
          setImmediate(() => {
            controller.abort("gone");
            again.push(collect(engine, requestOf("r0", [0], { maxTokens: 2 })));
          }),
        );
      }
      return runner.step(sequences);
    };
    const config = { vocabSize: large, maxPositions, eosTokenIds: [] };
    const { engine } = setUp({ runner: { step, close: () => {} }, config });
    const requests = Array.from({ length: 8 }, (_, i) => requestOf(`r${i}`, [0], { maxTokens: 1 }));
    const outcomes = await Promise.allSettled(
      requests.map((r, i) => collect(engine, r, i === 0 ? controller.signal : undefined)),
    );
    expect(outcomes.map(({ status }) => status)).toEqual(["rejected", ...new Array(7).fill("fulfilled")]);
    expect(await Promise.all(again)).toMatchObject([{ summary: { completionTokens: 2 } }]);
    expect(engine.stats()).toMatchObject({ running: 0, generatedTokens: 9 });
  });

  test("by abort works while waiting for blocks", async () => {
    const { engine } = setUp({ scheduler: { maxRunning: 1, maxRows: 8 } });
    const first = collect(engine, requestOf("first", [3], { maxTokens: 20 }));
    const controller = new AbortController();
    const second = collect(engine, requestOf("second", [4]), controller.signal);
    await eventLoopTurn();
    expect(engine.stats().waiting).toBe(1);
    controller.abort("impatient");
    await expect(second).rejects.toBe("impatient");
    expect(engine.stats().waiting).toBe(0);
    expect((await first).events).toHaveLength(20);
  });

  test("the loop frees the blocks", async () => {
    const { engine, runner } = setUp();
    for await (const _ of engine.generate(endless)) break;
    expect(engine.stats()).toMatchObject({ running: 0, blocks: { owned: 0 } });
    const steps = runner.steps.length;
    for (let turn = 0; turn < 20; turn++) await eventLoopTurn();
    expect(runner.steps.length).toBeLessThanOrEqual(steps + 1);
  });

  test("before the first token is asked for costs nothing", async () => {
    const { engine, runner } = setUp();
    await engine
      .generate(endless)
      .return({ promptTokens: 0, cachedPromptTokens: 0, completionTokens: 0, preemptions: 0 });
    expect(engine.stats().running).toBe(0);
    expect(runner.steps).toEqual([]);
  });
});

describe("a failed step", () => {
  test("rejects exactly the requests in it, with the cause; the engine lives on", async () => {
    const cause = new Error("out of memory");
    const { engine } = setUp({
      scheduler: { maxRunning: 2, maxRows: 8 },
      beforeStep: (_, step) => {
        if (step === 3) throw cause;
      },
    });
    const requests = ["a", "b", "c", "d"].map((id, i) => requestOf(id, [3, i]));
    const outcomes = await Promise.allSettled(requests.map((request) => collect(engine, request)));
    for (const outcome of outcomes.slice(0, 2)) {
      expect(outcome).toMatchObject({
        status: "rejected",
        reason: { code: "step_failed", message: "the step failed: out of memory", cause },
      });
    }
    for (const [i, outcome] of outcomes.slice(2).entries()) {
      expect(outcome.status === "fulfilled" && idsOf(outcome.value.events)).toEqual(alone(requests[i + 2]!));
    }
    expect(engine.stats()).toMatchObject({ running: 0, blocks: { owned: 0 } });
  });

  test("gives the tokens that came before it", async () => {
    const { engine } = setUp({
      beforeStep: (_, step) => {
        if (step === 2) throw new Error("broken");
      },
    });
    const events: TokenEvent[] = [];
    const reading = (async () => {
      for await (const event of engine.generate(requestOf("a", [3]))) events.push(event);
    })();
    await expect(reading).rejects.toThrow("the step failed: broken");
    expect(idsOf(events)).toEqual(alone(requestOf("a", [3])).slice(0, 2));
  });

  test("of every kind leaves later requests whole", async () => {
    const { engine } = setUp({
      beforeStep: (_, step) => {
        if (step % 3 === 1) throw new Error("every third");
      },
    });
    const promptIds = Array.from({ length: 11 }, (_, i) => i);
    for (let i = 0; i < 6; i++) {
      const request = requestOf(`r${i}`, promptIds, { maxTokens: 1 + (i % 2) });
      const [outcome] = await Promise.allSettled([collect(engine, request)]);
      if (outcome!.status === "fulfilled") expect(idsOf(outcome!.value.events)).toEqual(alone(request));
    }
    expect(engine.stats().blocks.owned).toBe(0);
  });

  test("is also one whose logits are no numbers, for that request alone", async () => {
    const runner = simpleRunner(({ denseUntil }) =>
      new Float32Array(vocabSize).fill(denseUntil === 1 ? Number.NaN : 1),
    );
    const { engine } = setUp({ runner });
    const [first, second] = await Promise.allSettled(
      [[3], [3, 4]].map((prompt, i) => collect(engine, requestOf(`r${i}`, prompt))),
    );
    expect(first).toMatchObject({
      status: "rejected",
      reason: { message: "the step failed: the model's logit for token 0 is NaN" },
    });
    expect(second).toMatchObject({ status: "fulfilled" });
  });

  test("that breaks the contract ends what was live, and the engine lives on", async () => {
    let steps = 0;
    const fake = new FakeRunner({ vocabSize, blocks: 64, blockSize: BLOCK });
    const step: StepRunner["step"] = async (sequences) => {
      const output = await fake.step(sequences);
      return steps++ === 1 ? { ...output, logits: [] } : output;
    };
    const { engine } = setUp({ runner: { step, close: () => {} }, scheduler: { maxRunning: 1, maxRows: 8 } });
    const requests = ["a", "b"].map((id) => collect(engine, requestOf(id, [3])));
    for (const outcome of await Promise.allSettled(requests)) {
      expect(outcome).toMatchObject({ status: "rejected", reason: { code: "step_failed" } });
    }
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, blocks: { free: 64 } });
    const next = requestOf("a", [3, 4, 5, 6, 0]);
    expect(idsOf((await collect(engine, next)).events)).toEqual(alone(next));
  });
});

describe("the event loop", () => {
  test("gets a turn in every step, even with a model that never waits", async () => {
    const engine = scriptedEngine(new Array(50).fill(3));
    let turns = 0;
    let counting = true;
    const count = () => {
      turns += 1;
      if (counting) setImmediate(count);
    };
    setImmediate(count);
    await collect(engine, requestOf("a", [3], { maxTokens: 50 }));
    counting = false;
    expect(turns).toBeGreaterThanOrEqual(50);
  });

  test("gets turns while a large batch is sampled", async () => {
    const large = 40_000;
    let sampled = false;
    const runner = simpleRunner(() => {
      sampled = true;
      return new Float32Array(large);
    });
    const { engine } = setUp({ runner, config: { vocabSize: large, maxPositions, eosTokenIds: [] } });
    let turns = 0;
    let done = false;
    const count = () => {
      if (sampled) turns += 1;
      if (!done) setImmediate(count);
    };
    setImmediate(count);
    await Promise.all(Array.from({ length: 16 }, (_, i) => collect(engine, requestOf(`r${i}`, [0], { maxTokens: 1 }))));
    done = true;
    expect(turns).toBeGreaterThanOrEqual(4); // 16 rows, one turn for every four of them
  });
});

describe("close", () => {
  test("ends running and waiting requests, waits for the step in flight, then closes the runner", async () => {
    let release = () => {};
    let started = () => {};
    const inStep = new Promise<void>((resolve) => {
      started = resolve;
    });
    const { engine, runner } = setUp({
      scheduler: { maxRunning: 1, maxRows: 8 },
      beforeStep: () => {
        started();
        return new Promise<void>((resolve) => {
          release = resolve;
        });
      },
    });
    const requests = ["a", "b"].map((id) => collect(engine, requestOf(id, [3])));
    const outcomes = Promise.allSettled(requests);
    await inStep;
    const closing = engine.close();
    expect(await outcomes).toMatchObject([
      { status: "rejected", reason: { code: "closed" } },
      { status: "rejected", reason: { code: "closed" } },
    ]);
    expect(runner.closed).toBe(false);
    release();
    await closing;
    expect(runner.closed).toBe(true);
    await expect(collect(engine, requestOf("c", [3]))).rejects.toMatchObject({
      code: "closed",
      message: "the engine is closed",
    });
    await engine.close();
  });

  test("of an idle engine", async () => {
    const { engine, runner } = setUp();
    await collect(engine, requestOf("a", [3]));
    await engine.close();
    expect(runner.closed).toBe(true);
  });
});
