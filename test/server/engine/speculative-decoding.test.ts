import { describe, expect, test } from "vitest";
import type { EngineOptions } from "../../../server/engine/engine.ts";
import type { SamplingParams } from "../../../server/engine/types.ts";
import {
  collect,
  EOS,
  idsOf,
  requestOf,
  scriptedEngine,
  setUp,
  simpleRunner,
  vocabSize,
} from "../../support/engine.ts";

const speculation = { maxDraft: 6, stepCost: 100 };
const on: Partial<EngineOptions> = { scheduler: { speculation } };

// Tokens of test/support/engine.ts: 0 "a", 3 "b", 4 " ", 6 "ab".
const round = [0, 3, 4];
const script = [...round, ...round, ...round, ...round, ...round, ...round];

/** What a request gets of a script with and without drafts; they must have run, and must not show. */
async function same(tokens: readonly number[], sampling: Partial<SamplingParams>) {
  const request = requestOf("a", [...round, ...round], { maxTokens: 18, ...sampling });
  const plain = await collect(scriptedEngine(tokens), request);
  const engine = scriptedEngine(tokens, on);
  const drafted = await collect(engine, request);
  expect(drafted).toEqual(plain);
  expect(engine.stats().acceptedDraftTokens).toBeGreaterThan(0);
  expect(engine.stats().steps).toBeLessThan(plain.events.length);
  expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, blocks: { owned: 0 } });
  return drafted.events;
}

describe("events are those of plain decoding when", () => {
  test("drafts are right to the end", async () => {
    expect(await same(script, {})).toHaveLength(18);
  });

  test("drafts are wrong at times", async () => {
    await same([...round, ...round, 4, ...round, 0, 6, ...round, 3, ...round], { maxTokens: 16 });
  });

  test("a stop string ends inside a right draft", async () => {
    const events = await same([...round, 6, ...round, ...round, 6, ...round], { stop: [" abab"] });
    expect(events.map(({ text }) => text).join("")).toBe("ab");
    expect(events.at(-1)!.finishReason).toBe("stop");
  });

  test("an end-of-sequence token is inside a right draft", async () => {
    const promptIds = [0, 3, EOS, 4, 0, 3];
    const tokens = [EOS, 4, 0, 3, EOS, 4];
    const run = (ignoreEos: boolean, options: Partial<EngineOptions>) =>
      collect(scriptedEngine(tokens, options), requestOf("a", promptIds, { maxTokens: 6, ignoreEos }));
    const [stopped, ignored] = [await run(false, on), await run(true, on)];
    expect(stopped).toEqual(await run(false, {}));
    expect(ignored).toEqual(await run(true, {}));
    expect(idsOf(stopped.events)).toEqual([EOS]);
    expect(idsOf(ignored.events)).toEqual(tokens);
  });

  test("max_tokens cuts a right draft", async () => {
    for (const maxTokens of [3, 4, 5, 6]) {
      const events = await same(script, { maxTokens });
      expect(events.map(({ finishReason }) => finishReason).indexOf("length")).toBe(maxTokens - 1);
    }
  });

  test("tokens that end the text are ruled out at first", async () => {
    const tokens = [...round, EOS, ...round, EOS, ...round, EOS, ...round, EOS];
    const events = await same(tokens, { ignoreEos: false, minTokens: 9, maxTokens: 16 });
    expect(idsOf(events).indexOf(EOS)).toBe(11);
  });

  test("log-probabilities are asked for", async () => {
    const events = await same(script, { logprobs: 3 });
    expect(events.every(({ logprobs }) => logprobs!.top.length === 3 && logprobs!.logprob < 0)).toBe(true);
  });

  test("penalties count what the draft would have added", async () => {
    // Nine for the script's token, eight for the one before: with frequency the script loses once its token is used up.
    for (const penalty of [{ frequencyPenalty: 0.3 }, { presencePenalty: 1.5 }, { repetitionPenalty: 1.2 }]) {
      const runner = simpleRunner(({ contextLength, denseUntil }, row) => {
        const logits = new Float32Array(vocabSize);
        const at = contextLength + row + 1 - denseUntil;
        logits[script[at % script.length]!] = 9;
        logits[(at * 5) % vocabSize] = 8;
        return logits;
      });
      const request = requestOf("a", [...round, ...round], { maxTokens: 30, ...penalty });
      const plain = await collect(setUp({ runner }).engine, request);
      const { engine } = setUp({ runner, ...on });
      expect(await collect(engine, request)).toEqual(plain);
      const { draftTokens, acceptedDraftTokens } = engine.stats();
      expect(acceptedDraftTokens).toBeGreaterThan(0);
      expect(draftTokens).toBeGreaterThan(acceptedDraftTokens);
    }
  });
});

describe("a row without a token", () => {
  /** Whose rows are not-a-numbers where `broken` says so of the script's token and of the row's own. */
  const engineOf = (tokens: readonly number[], broken: (index: number, input: number) => boolean) => {
    const runner = simpleRunner(({ contextLength, denseUntil, tokenIds }, row) => {
      const index = contextLength + row + 1 - denseUntil;
      const logits = new Float32Array(vocabSize);
      logits[tokens[index]!] = 9;
      return broken(index, tokenIds[row]!) ? logits.fill(Number.NaN) : logits;
    });
    return setUp({ runner, ...on }).engine;
  };
  const request = requestOf("a", [...round, ...round], { maxTokens: 18 });

  test("ends the request after the tokens before it", async () => {
    const engine = engineOf(script, (index) => index >= 7);
    const ids: number[] = [];
    const run = async () => {
      for await (const { tokenId } of engine.generate(request)) ids.push(tokenId);
    };
    await expect(run()).rejects.toMatchObject({ code: "step_failed", message: expect.stringContaining("NaN") });
    expect(ids).toEqual(script.slice(0, 7));
    expect(engine.stats().acceptedDraftTokens).toBeGreaterThan(0);
  });

  test("is nothing if it follows a wrong token of a draft", async () => {
    const tokens = [...round, 0, 6, ...round, ...round, 3, 3, ...round, ...round];
    const engine = engineOf(tokens, (index, input) => index > 0 && input !== tokens[index - 1]);
    expect(idsOf((await collect(engine, request)).events)).toEqual(tokens.slice(0, 18));
    const { draftTokens, acceptedDraftTokens } = engine.stats();
    expect(draftTokens).toBeGreaterThan(acceptedDraftTokens);
  });
});

test("a step counts the rows of drafts as rows of decoding", async () => {
  const steps: number[][] = [];
  const observer = {
    step: ({ promptRows, decodeRows }: { promptRows: number; decodeRows: number }) =>
      steps.push([promptRows, decodeRows]),
  };
  const engine = scriptedEngine(script, { ...on, observers: [observer] });
  await collect(engine, requestOf("a", [...round, ...round], { maxTokens: 7 }));
  expect(steps).toEqual([
    [6, 0],
    [0, 6],
  ]);
});
