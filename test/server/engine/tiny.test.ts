import { setImmediate as eventLoopTurn } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { defaultAttention } from "../../../attention/defaults.ts";
import { openSession, type Session } from "../../../attention/session.ts";
import type { AttentionSettings } from "../../../attention/types.ts";
import { loadModel } from "../../../models/load.ts";
import type { PreparedModel } from "../../../models/types.ts";
import { createEngine, type EngineOptions } from "../../../server/engine/engine.ts";
import type { Engine, SamplingParams, Tokenizer } from "../../../server/engine/types.ts";
import { createTokenizer } from "../../../server/tokenizer.ts";

const BLOCK = 16;
const BLOCKS = 512;

/** Carroll, Alice's Adventures in Wonderland (public domain). */
const story =
  "Alice was beginning to get very tired of sitting by her sister on the bank, and of having nothing to do: once or " +
  "twice she had peeped into the book her sister was reading, but it had no pictures or conversations in it, 'and what " +
  "is the use of a book,' thought Alice 'without pictures or conversation?' So she was considering in her own mind (as " +
  "well as she could, for the hot day made her feel very sleepy and stupid), whether the pleasure of making a " +
  "daisy-chain would be worth the trouble of getting up and picking the daisies, when suddenly a White Rabbit with pink " +
  "eyes ran close by her.";

interface Request {
  readonly prompt: number[];
  readonly attention: AttentionSettings;
  readonly sampling?: Partial<SamplingParams>;
  readonly priority?: number;
  readonly batch?: string;
}

let count = 0;

async function generate(engine: Engine, { prompt, attention, sampling, priority = 0, batch }: Request) {
  const id = `request ${count++}`;
  const greedy = { maxTokens: 40, temperature: 0, topP: 1, topK: 0, stop: [], ignoreEos: true };
  const ids: number[] = [];
  const request = { id, promptIds: prompt, attention, priority, sampling: { ...greedy, ...sampling } };
  const events = engine.generate({ ...request, ...(batch && { batch }) });
  for (;;) {
    const { done, value } = await events.next();
    if (done) return { ids, summary: value };
    ids.push(value.tokenId);
  }
}

describe.each(["tiny-llama", "tiny-pythia"])("%s: tokens at temperature 0 are those of the request alone", (name) => {
  let model: PreparedModel;
  let session: Session;
  let tokenizer: Tokenizer;
  let dense: AttentionSettings;
  let sparq: AttentionSettings;

  beforeAll(async () => {
    model = await loadModel(name);
    tokenizer = createTokenizer(model.tokenizer, model.config);
    const sizes = { blocks: BLOCKS, blockSize: BLOCK, threads: 2, spinning: false };
    session = await openSession({ graphPath: model.graphPath, config: model.config, ...sizes });
    // Very few positions kept, so that SparQ differs from dense at these lengths.
    sparq = { ...defaultAttention(model.config), mode: "sparq", r: 2, k: 6, local: 2, meanValue: false, minContext: 0 };
    dense = { ...sparq, mode: "dense" };
  });
  afterAll(() => session.close());

  /** A fresh engine over the one session, whose store keeps what earlier engines wrote. */
  function engineOf(options: Partial<EngineOptions> = {}, cache: Partial<EngineOptions["cache"]> = {}): Engine {
    const [step, copyBlock] = [session.step.bind(session), session.copyBlock.bind(session)];
    const runner = { step, copyBlock, close: () => {} };
    return createEngine({
      runner,
      config: model.config,
      tokenizer,
      cache: { blocks: BLOCKS, blockSize: BLOCK, ...cache },
      checked: true,
      ...options,
    });
  }

  const promptOf = (start: number, length: number) => tokenizer.encode(story).slice(start, start + length);
  const alone = async (request: Request) => (await generate(engineOf(), request)).ids;
  /** One after the other: the session runs one step at a time. */
  const allAlone = async (requests: readonly Request[]) => {
    const tokens: number[][] = [];
    for (const request of requests) tokens.push(await alone(request));
    return tokens;
  };
  const modes = () => [dense, sparq];

  test("the modes differ, so that a mix-up would show", async () => {
    const sampling = { maxTokens: 60 };
    const run = (attention: AttentionSettings) =>
      allAlone([0, 20, 40].map((start) => ({ prompt: promptOf(start, 60), attention, sampling })));
    expect(await run(dense)).not.toEqual(await run(sparq));
  });

  test("among sixteen others of other lengths and modes", async () => {
    for (const attention of modes()) {
      const target = { prompt: promptOf(3, 90), attention };
      const expected = await alone(target);
      const engine = engineOf({ scheduler: { prefill: { slowdown: Number.POSITIVE_INFINITY, floor: 1 } } });
      const others = Array.from({ length: 16 }, (_, i) =>
        generate(engine, {
          prompt: promptOf(i, 2 + 7 * i),
          attention: modes()[i % 2]!,
          sampling: { maxTokens: 20 + 2 * i, temperature: i % 3, seed: i },
        }),
      );
      expect((await generate(engine, target)).ids).toEqual(expected);
      await Promise.all(others);
      // All ran together, not one after the other: the longest alone takes 50 steps.
      expect(engine.stats().steps).toBeLessThan(80);
    }
  });

  test.each([
    { maxRows: 13, maxRunning: 8 },
    { maxRunning: 8, prefill: { slowdown: 1, floor: 3 } },
  ])("in chunks, while others decode: %o", async (scheduler) => {
    for (const attention of modes()) {
      const target = { prompt: promptOf(0, 100), attention };
      const expected = await alone(target);
      const engine = engineOf({ scheduler });
      const others = [1, 2, 3].map((i) => generate(engine, { prompt: promptOf(i, 9), attention }));
      expect((await generate(engine, target)).ids).toEqual(expected);
      await Promise.all(others);
    }
  });

  test("with a cache so small that requests lose their blocks and are computed again", async () => {
    const requests = Array.from({ length: 6 }, (_, i) => ({
      prompt: promptOf(10 * i, 30 + i),
      attention: modes()[i % 2]!,
    }));
    const expected = await allAlone(requests);
    for (const prefixCaching of [true, false]) {
      const engine = engineOf({}, { blocks: 14, watermark: 0, prefixCaching });
      const got = await Promise.all(requests.map((request) => generate(engine, request)));
      expect(got.map(({ ids }) => ids)).toEqual(expected);
      expect(engine.stats().preemptions).toBeGreaterThan(0);
    }
  });

  test("and drawn ones too, in choices that share a prompt and copy its last block", async () => {
    for (const length of [100, 96]) {
      const prompt = promptOf(0, length);
      const choices = Array.from({ length: 4 }, (_, i) => ({
        prompt,
        attention: modes()[i % 2]!,
        batch: `choices ${length}`,
        sampling: { temperature: i === 0 ? 0 : 1, seed: i },
      }));
      const expected = await allAlone(choices);
      const engine = engineOf();
      const got = await Promise.all(choices.map((choice) => generate(engine, choice)));
      expect(got.map(({ ids }) => ids)).toEqual(expected);
      expect(got.map(({ summary }) => summary.cachedPromptTokens)).toEqual([0, length - 1, length - 1, length - 1]);
    }
  });

  test("when another one of higher priority takes their blocks and slots", async () => {
    const [low, middle, high] = [0, 30, 60].map((start, i) => ({
      prompt: promptOf(start, 40),
      attention: modes()[i % 2]!,
      priority: 2 - i,
    })) as [Request, Request, Request];
    const expected = await allAlone([low, middle, high]);
    const engine = engineOf({ scheduler: { maxRunning: 1 } });
    const first = generate(engine, low);
    while (engine.stats().steps < 5) await eventLoopTurn();
    const second = generate(engine, middle);
    while (engine.stats().steps < 10) await eventLoopTurn();
    const got = await Promise.all([first, second, generate(engine, high)]);
    expect(got.map(({ ids }) => ids)).toEqual(expected);
    expect(got.map(({ summary }) => summary.preemptions)).toEqual([1, 1, 0]);
  });

  test("with prompts served from the prefix cache, over modes", async () => {
    const engine = engineOf();
    const prompt = promptOf(0, 100);
    for (const [length, attention, cached] of [
      [100, dense, 0],
      [100, sparq, 96],
      [97, dense, 96],
      [96, sparq, 80],
      [50, dense, 48],
    ] as const) {
      const request = { prompt: prompt.slice(0, length), attention };
      const { ids, summary } = await generate(engine, request);
      expect(summary.cachedPromptTokens).toBe(cached);
      expect(ids).toEqual(await alone(request));
    }
  });

  test("and drawn tokens too, with a seed, before and after losing the blocks", async () => {
    const sampling = { temperature: 1, seed: 11, topP: 0.95 };
    const requests = [0, 20, 40].map((start) => ({ prompt: promptOf(start, 40), attention: sparq, sampling }));
    const expected = await allAlone(requests);
    const engine = engineOf({}, { blocks: 10, watermark: 0 });
    const got = await Promise.all(requests.map((request) => generate(engine, request)));
    expect(got.map(({ ids }) => ids)).toEqual(expected);
    expect(engine.stats().preemptions).toBeGreaterThan(0);
  });
});
