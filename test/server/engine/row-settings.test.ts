import { describe, expect, test } from "vitest";
import { RowSettings } from "../../../server/engine/row-settings.ts";
import { greedy } from "../../support/engine.ts";

describe("a request's rows", () => {
  test("are the request's parameters, what is left out being off", () => {
    const row = new RowSettings({ ...greedy, temperature: 0.5, topK: 3 }, [1, 2]).next(0.25);
    expect(row).toMatchObject({ temperature: 0.5, topK: 3, topP: 1, minP: 0, uniform: 0.25, repetitionPenalty: 1 });
    expect([row.counts.length, row.biasTokens.length, "logprobs" in row]).toEqual([0, 0, false]);
  });

  test("carry bias and the log-probabilities asked for", () => {
    const logitBias = new Map([
      [4, -100],
      [7, 2.5],
    ]);
    const row = new RowSettings({ ...greedy, logitBias, logprobs: 0 }, [1]).next(0);
    expect([row.biasTokens, row.biases, row.logprobs]).toEqual([Int32Array.of(4, 7), Float32Array.of(-100, 2.5), 0]);
  });

  test("count the output's tokens, and with repetition the prompt's too", () => {
    const presence = new RowSettings({ ...greedy, presencePenalty: 1 }, [5, 6]);
    const repetition = new RowSettings({ ...greedy, repetitionPenalty: 1.1 }, [5, 6, 5]);
    for (const rows of [presence, repetition]) for (const token of [6, 9, 6]) rows.count(token);
    expect(presence.next(0).counts).toEqual(Int32Array.of(6, 2, 9, 1));
    expect(repetition.next(0).counts).toEqual(Int32Array.of(5, 0, 6, 2, 9, 1));
  });

  test("of a draft count what it would have added, and leave the counts as they are", () => {
    const rows = new RowSettings({ ...greedy, repetitionPenalty: 1.1 }, [5, 6]);
    rows.count(6);
    expect(rows.next(0, false, [6, 8, 9, 8]).counts).toEqual(Int32Array.of(5, 0, 6, 2, 8, 2, 9, 1));
    expect(rows.next(0, false, [5]).counts).toEqual(Int32Array.of(5, 1, 6, 1));
    expect(rows.next(0).counts).toEqual(Int32Array.of(5, 0, 6, 1));
  });

  test("keep count of more tokens than there was room for at first", () => {
    const rows = new RowSettings({ ...greedy, frequencyPenalty: 1 }, []);
    for (let i = 0; i < 2000; i++) rows.count(i % 1000);
    expect(rows.next(0).counts).toEqual(Int32Array.from({ length: 2000 }, (_, i) => (i % 2 === 0 ? i / 2 : 2)));
  });

  test("share the arrays of one bias, and have others for early rows", () => {
    const sampling = { ...greedy, logitBias: new Map([[3, 1]]) };
    const [one, other] = [new RowSettings(sampling, [], [7]), new RowSettings(sampling, [], [7])];
    expect(one.next(0).biasTokens).toBe(other.next(0.5).biasTokens);
    expect(one.next(0, true).biasTokens).toEqual(Int32Array.of(3, 7));
    expect(one.next(0, true).biases).toEqual(Float32Array.of(1, Number.NEGATIVE_INFINITY));
    expect(one.next(0).biasTokens).toEqual(Int32Array.of(3));
  });
});
