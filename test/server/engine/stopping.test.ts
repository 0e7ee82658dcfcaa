import { describe, expect, test } from "vitest";
import { StopMatcher } from "../../../server/engine/stop.ts";
import { collect, EOS, idsOf, requestOf, SPECIAL, scriptedEngine, setUp, textOf } from "../../support/engine.ts";

describe("stop token ids", () => {
  test("end the text, which does not show them", async () => {
    const { events } = await collect(scriptedEngine([0, 3, 4, 0]), requestOf("a", [4], { stopTokenIds: [4, 5] }));
    expect(events.map(({ text, finishReason }) => [text, finishReason])).toEqual([
      ["a", null],
      ["b", null],
      ["", "stop"],
    ]);
  });

  test("end it beside the end of sequence, and where that is ignored", async () => {
    const run = async (ignoreEos: boolean) => {
      const sampling = { ignoreEos, stopTokenIds: [3], maxTokens: 5 };
      return idsOf((await collect(scriptedEngine([0, EOS, 0, 3]), requestOf("a", [4], sampling))).events);
    };
    expect(await run(false)).toEqual([0, EOS]);
    expect(await run(true)).toEqual([0, EOS, 0, 3]);
  });
});

describe("min tokens", () => {
  test("rule out what ends the text until so many are there", async () => {
    // The likeliest token is the end, the next one is token 0: a row of zeros but for the end.
    const end = scriptedEngine([EOS, EOS, EOS, EOS, EOS]);
    const run = async (minTokens: number, more = {}) => {
      const sampling = { minTokens, ignoreEos: false, maxTokens: 5, ...more };
      const { events } = await collect(end, requestOf("a", [4], sampling));
      return { ids: idsOf(events), reason: events.at(-1)!.finishReason };
    };
    expect(await run(0)).toEqual({ ids: [EOS], reason: "stop" });
    expect(await run(3)).toEqual({ ids: [0, 0, 0, EOS], reason: "stop" });
    expect(await run(5)).toEqual({ ids: [0, 0, 0, 0, 0], reason: "length" });
    // A bias for the end does not bring it back, and other biases stay.
    const logitBias = new Map([
      [EOS, 50],
      [3, 1],
    ]);
    expect(await run(2, { logitBias })).toEqual({ ids: [3, 3, EOS], reason: "stop" });
    expect(await run(2, { stopTokenIds: [0] })).toEqual({ ids: [2, 2, EOS], reason: "stop" });
    expect(await run(2, { stopTokenIds: [0], ignoreEos: true, maxTokens: 2 })).toMatchObject({ ids: [EOS, EOS] });
  });

  test("keep stop strings from counting until then", async () => {
    const run = async (minTokens: number) => {
      const sampling = { stop: ["ab"], minTokens, maxTokens: 6 };
      const { events } = await collect(scriptedEngine([0, 3, 0, 3, 0, 3]), requestOf("a", [4], sampling));
      return { text: textOf(events), tokens: events.length, reason: events.at(-1)!.finishReason };
    };
    expect(await run(0)).toEqual({ text: "", tokens: 2, reason: "stop" });
    expect(await run(1)).toEqual({ text: "", tokens: 2, reason: "stop" }); // it ends with the second token
    expect(await run(2)).toEqual({ text: "ab", tokens: 4, reason: "stop" });
    expect(await run(5)).toEqual({ text: "abab", tokens: 6, reason: "stop" });
    expect(await run(6)).toEqual({ text: "ababab", tokens: 6, reason: "length" });
  });

  test("keep special tokens that are stop strings from ending it", async () => {
    const sampling = { stop: ["<|call|>"], minTokens: 2, maxTokens: 5 };
    const { events } = await collect(scriptedEngine([SPECIAL, 3, SPECIAL, 3]), requestOf("a", [4], sampling));
    expect(idsOf(events)).toEqual([SPECIAL, 3, SPECIAL]);
    expect(textOf(events)).toBe("b");
  });

  test("count for each request by itself", async () => {
    const { engine } = setUp();
    const runs = [0, 4, 8].map((minTokens) => {
      return collect(
        engine,
        requestOf(`r${minTokens}`, [3, 4], { minTokens, stopTokenIds: Array.from({ length: 9 }, (_, i) => i) }),
      );
    });
    const lengths = (await Promise.all(runs)).map(({ events }) => events.length);
    expect(lengths[1]).toBeGreaterThanOrEqual(5);
    expect(lengths[2]).toBe(8);
    expect(lengths[0]).toBeLessThan(lengths[1]!);
  });
});

test("a stop string that began before it counts is found once it does", () => {
  const matcher = new StopMatcher(["abc", "b"]);
  expect(matcher.push("xab", false)).toEqual({ text: "x", stopped: false });
  expect(matcher.push("c")).toEqual({ text: "", stopped: true });
  const other = new StopMatcher(["abc"]);
  expect(other.push("abc", false).stopped).toBe(false);
  expect(other.push("d")).toEqual({ text: "abcd", stopped: false });
});
