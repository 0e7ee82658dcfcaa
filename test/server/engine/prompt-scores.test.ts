import { describe, expect, test } from "vitest";
import { PromptScores } from "../../../server/engine/prompt-scores.ts";
import type { EventLogprobs } from "../../../server/engine/types.ts";
import {
  collect,
  idsOf,
  maxPositions,
  requestOf,
  scoring,
  setUp,
  simpleRunner,
  vocabSize,
} from "../../support/engine.ts";

const range = (length: number, from = 0) => Array.from({ length }, (_, i) => (i * 3 + from) % vocabSize);

describe("a prompt's log-probabilities", () => {
  test("come before the first token, one for each token but the first", async () => {
    const { engine } = setUp();
    const { request, answers, expected } = scoring(requestOf("a", range(11)), 3);
    const { events } = await collect(engine, request);
    expect(answers).toEqual([expected]);
    expect(expected).toHaveLength(10);
    expect(events).toHaveLength(8);
  });

  test("are all that a request of no tokens gets", async () => {
    const { engine, runner } = setUp();
    const { request, answers, expected } = scoring(requestOf("a", range(11), { maxTokens: 0 }));
    const { events, summary } = await collect(engine, request);
    expect(events).toEqual([]);
    expect(answers).toEqual([expected]);
    expect(summary).toMatchObject({ promptTokens: 11, completionTokens: 0 });
    expect(runner.steps).toHaveLength(1);
    expect(engine.stats()).toMatchObject({ running: 0, generatedTokens: 0 });
  });

  test("are none for a prompt of one token", async () => {
    const { engine } = setUp();
    for (const maxTokens of [0, 1]) {
      const { request, answers } = scoring(requestOf("a", [3], { maxTokens }));
      expect((await collect(engine, request)).events).toHaveLength(maxTokens);
      expect(answers).toEqual([[]]);
    }
  });

  test("may be of a prompt that fills the context, if nothing is to follow", async () => {
    const { engine } = setUp();
    const full = scoring(requestOf("a", range(maxPositions), { maxTokens: 0 }));
    await collect(engine, full.request);
    expect(full.answers).toEqual([full.expected]);
    const long = scoring(requestOf("a", range(maxPositions + 1), { maxTokens: 0 }));
    await expect(collect(engine, long.request)).rejects.toThrow("the prompt has 65 tokens; the context is 64 tokens");
    const followed = scoring(requestOf("a", range(maxPositions), { maxTokens: 1 }));
    await expect(collect(engine, followed.request)).rejects.toThrow("at least 1 must be left to generate");
  });

  test("are computed though the prompt is cached, and the prompt is cached for others", async () => {
    const { engine } = setUp();
    await collect(engine, requestOf("a", range(13)));
    const again = scoring(requestOf("b", range(13)));
    const { summary } = await collect(engine, again.request);
    expect(again.answers).toEqual([again.expected]);
    expect(summary.cachedPromptTokens).toBe(0);
    await collect(engine, scoring(requestOf("c", range(13, 1), { maxTokens: 0 })).request);
    expect((await collect(engine, requestOf("d", range(13, 1)))).summary.cachedPromptTokens).toBe(12);
  });

  test("are read a few rows at a time, as many as 32 MB of logits are", async () => {
    const rows: number[] = [];
    const runner = simpleRunner(() => new Float32Array(3_000_000));
    const step: typeof runner.step = async (sequences) => {
      rows.push(...sequences.map(({ tokenIds }) => tokenIds.length));
      const row = { tokenId: 3, logprob: -1, top: [] };
      const sampled = sequences.map(({ sampling = [] }) => sampling.map(() => row));
      return { sampled, traffic: { scoreBytes: 0, gatherBytes: 0, denseBytes: 0, denseEquivalentBytes: 0 } };
    };
    const { engine } = setUp({
      runner: { step, copyBlock: () => {}, close: () => {} },
      config: { vocabSize: 3_000_000, maxPositions, eosTokenIds: [] },
    });
    await collect(engine, scoring(requestOf("a", range(6), { maxTokens: 0 })).request);
    expect(rows).toEqual([2, 2, 2]);
  });

  test("that cannot be told end the request, not its neighbour", async () => {
    const runner = simpleRunner(() => new Float32Array(vocabSize));
    const step: typeof runner.step = async (sequences) => {
      const error = new RangeError("the model's logit for token 2 is NaN");
      const sampled = sequences.map(({ sampling = [] }) => {
        return sampling.map(({ token }) => ({
          tokenId: 3,
          logprob: 0,
          top: [],
          ...(token !== undefined && { error }),
        }));
      });
      return { sampled, traffic: { scoreBytes: 0, gatherBytes: 0, denseBytes: 0, denseEquivalentBytes: 0 } };
    };
    const { engine } = setUp({ runner: { step, copyBlock: () => {}, close: () => {} } });
    const neighbour = collect(engine, requestOf("b", [4], { maxTokens: 3 }));
    const { request, answers } = scoring(requestOf("a", range(5)));
    await expect(collect(engine, request)).rejects.toMatchObject({
      code: "step_failed",
      message: "the step failed: the model's logit for token 2 is NaN",
    });
    expect(answers).toEqual([]);
    expect(idsOf((await neighbour).events)).toEqual([3, 3, 3]);
  });
});

test("chunks that run twice are told once", () => {
  const told: (readonly EventLogprobs[])[] = [];
  const scores = new PromptScores([5, 6, 7, 8], { top: 1, onReady: (logprobs) => told.push(logprobs) });
  const row = (logprob: number) => ({ tokenId: 0, logprob, top: [] });
  expect(scores.rows(1, 5).map(({ token, logprobs }) => [token, logprobs])).toEqual([
    [7, 1],
    [8, 1],
  ]);
  scores.accept(0, [row(-1), row(-2)]);
  scores.accept(0, [row(-1), row(-2)]);
  expect(told).toEqual([]);
  scores.accept(2, [row(-3)]);
  scores.accept(3, []);
  expect(told).toEqual([[-1, -2, -3].map((logprob) => ({ logprob, top: [] }))]);
});
