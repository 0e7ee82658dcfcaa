import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { defaultAttention } from "../../../attention/defaults.ts";
import { openSession, type Session } from "../../../attention/session.ts";
import type { AttentionSettings } from "../../../attention/types.ts";
import { loadModel } from "../../../models/load.ts";
import type { PreparedModel } from "../../../models/types.ts";
import { createEngine, type EngineOptions } from "../../../server/engine/engine.ts";
import type { Engine, GenerateRequest, SamplingParams, Tokenizer } from "../../../server/engine/types.ts";
import { createTokenizer } from "../../../server/tokenizer.ts";
import { collect, greedy } from "../../support/engine.ts";

const BLOCK = 64;
const BLOCKS = 96;

/** Shakespeare, Macbeth (public domain): it goes on as it begins. */
const rhyme =
  "Double, double toil and trouble; Fire burn and cauldron bubble. Fillet of a fenny snake, In the cauldron boil and " +
  "bake. Double, double toil and trouble; Fire burn and cauldron bubble. Eye of newt and toe of frog, In the cauldron " +
  "boil and bake. Double, double toil and trouble; Fire burn";

const served = { dtype: "f16", scanDtype: "int8" } as const;
const exact = { dtype: "f32", scanDtype: "f32" } as const;
const loads = [
  { name: "tiny-llama", types: served },
  { name: "tiny-llama", types: exact },
  { name: "tiny-pythia", types: served },
];

describe.each(loads)("drafts do not change what $name gives with its cache in $types.dtype", ({ name, types }) => {
  let model: PreparedModel;
  let session: Session;
  let tokenizer: Tokenizer;
  let modes: { dense: AttentionSettings; sparq: AttentionSettings; mean: AttentionSettings; late: AttentionSettings };

  beforeAll(async () => {
    model = await loadModel(name);
    tokenizer = createTokenizer(model.tokenizer, model.config);
    const sizes = { blocks: BLOCKS, blockSize: BLOCK, threads: 2, spinning: false, ...types };
    session = await openSession({ graphPath: model.graphPath, config: model.config, ...sizes });
    // Few positions kept, so that a wrong score, sum or code would show.
    const few = { ...defaultAttention(model.config), r: 4, k: 8, local: 2, minContext: 0 };
    modes = {
      dense: { ...few, mode: "dense" },
      sparq: { ...few, meanValue: false },
      mean: { ...few, meanValue: true },
      // Dense at first; the bound falls among the generated tokens.
      late: { ...few, meanValue: true, minContext: promptOf(70).length + 20 },
    };
  });
  afterAll(() => session.close());

  const promptOf = (length: number) => tokenizer.encode(rhyme).slice(0, length);

  /** Drafts are run whenever there are any, so that many are wrong. */
  function engineOf(drafts: boolean, cache: Partial<EngineOptions["cache"]> = {}, maxRows = 64): Engine {
    return createEngine({
      runner: { step: session.step.bind(session), copyBlock: session.copyBlock.bind(session), close: () => {} },
      config: model.config,
      tokenizer,
      cache: { blocks: BLOCKS, blockSize: BLOCK, ...cache },
      checked: true,
      scheduler: { maxRows, maxRunning: 8, speculation: drafts ? { maxDraft: 7, stepCost: 1000 } : null },
    });
  }

  let count = 0;
  const seen = { right: 0, wrong: 0 };
  const request = (promptIds: number[], attention: AttentionSettings, sampling: Partial<SamplingParams> = {}) => {
    return { id: `${count++}`, promptIds, attention, sampling: { ...greedy, maxTokens: 90, ...sampling } };
  };

  /** The events of requests that run together, with drafts and without. */
  async function same(requests: readonly GenerateRequest[], cache: Partial<EngineOptions["cache"]> = {}) {
    const [plain, drafting] = [engineOf(false, cache), engineOf(true, cache)];
    const expected = await Promise.all(requests.map((r) => collect(plain, r)));
    const got = await Promise.all(requests.map((r) => collect(drafting, r)));
    expect(got.map(({ events }) => events)).toEqual(expected.map(({ events }) => events));
    const { draftTokens, acceptedDraftTokens, preemptions } = drafting.stats();
    seen.right += acceptedDraftTokens;
    seen.wrong += draftTokens - acceptedDraftTokens;
    return { preemptions, cached: got.map(({ summary }) => summary.cachedPromptTokens) };
  }

  test.each(["dense", "sparq", "mean", "late"] as const)(
    "at temperature 0 and 1, with log-probabilities: %s",
    async (mode) => {
      for (const temperature of [0, 1])
        await same([request(promptOf(70), modes[mode], { temperature, seed: 5, logprobs: 2 })]);
    },
  );

  test("with penalties", async () => {
    const penalties = { repetitionPenalty: 1.05, presencePenalty: 0.2, frequencyPenalty: 0.1 };
    await same([request(promptOf(60), modes.mean, penalties)]);
  });

  test("among others, of which some begin alike, and twice the same prompt with two seeds", async () => {
    const { cached } = await same([
      request(promptOf(70), modes.dense),
      request(promptOf(70), modes.mean, { temperature: 1, seed: 1 }),
      request(promptOf(70), modes.mean, { temperature: 1, seed: 2 }),
      request(promptOf(40), modes.sparq, { maxTokens: 30 }),
      request(promptOf(100), modes.late),
    ]);
    expect(Math.max(...cached)).toBe(BLOCK);
  });

  test("in choices of one prompt, which copy its last block", async () => {
    const prompt = promptOf(70);
    const choices = [0, 1, 2].map((seed) => {
      return { ...request(prompt, modes.mean, { temperature: seed === 0 ? 0 : 1, seed }), batch: "choices" };
    });
    const { cached } = await same(choices);
    expect(cached).toEqual([0, 69, 69]);
  });

  test("when requests lose their blocks on the way", async () => {
    const requests = [modes.dense, modes.mean, modes.sparq].map((attention, i) => request(promptOf(66 + i), attention));
    const { preemptions } = await same(requests, { blocks: 5, watermark: 0 });
    expect(preemptions).toBeGreaterThan(0);
  });

  test("when the text stops inside a draft", async () => {
    const whole = await collect(engineOf(false), request(promptOf(70), modes.dense));
    const text = whole.events.map((event) => event.text).join("");
    for (const at of [0.3, 0.6]) {
      const stop = [text.slice(Math.floor(at * text.length)).slice(0, 9)];
      await same([request(promptOf(70), modes.dense, { stop })]);
    }
  });

  test("and drafts were run, right ones and wrong ones", () => {
    expect(seen.right).toBeGreaterThan(100);
    expect(seen.wrong).toBeGreaterThan(100);
  });
});
