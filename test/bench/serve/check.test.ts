import { describe, expect, it } from "vitest";
import { faultOf } from "../../../bench/serve/check.ts";
import type { Timeline } from "../../../bench/serve/timeline.ts";
import { timeline } from "./timelines.ts";

const all = { outputTokens: 3, ignoreEos: true, usage: true };
const mayStop = { ...all, ignoreEos: false };

describe("an answer is sound", () => {
  it.each<[string, Partial<Timeline>, typeof all]>([
    ["with all its tokens", {}, all],
    ["with fewer if it may end", { finishReason: "stop", completionTokens: 2, deltas: 2 }, mayStop],
    ["with several tokens in a piece", { deltas: 1 }, all],
    ["without usage where there is none", { completionTokens: null, promptTokens: null }, { ...all, usage: false }],
  ])("%s", (_, given, expected) => {
    expect(faultOf(timeline(given), expected)).toBeNull();
  });
});

describe("an answer does not count", () => {
  it.each<[string, Partial<Timeline>, typeof all]>([
    ["timeout", { fault: { kind: "timeout", detail: "" }, done: false }, all],
    ["no [DONE]", { done: false, finishReason: null }, all],
    ["no choices", { chunks: [] }, all],
    ["no finish_reason", { finishReason: null }, all],
    ["finish_reason content_filter", { finishReason: "content_filter" }, all],
    ["empty text", { characters: 0, deltas: 0 }, all],
    ["no usage", { completionTokens: null }, all],
    ["ended early", { finishReason: "stop", completionTokens: 2, deltas: 2 }, all],
    ["ended early", { finishReason: "length", completionTokens: 2, deltas: 2 }, all],
    ["ended early", { finishReason: "stop", completionTokens: null }, { ...all, usage: false }],
    ["wrong number of tokens", { finishReason: "length", completionTokens: 4 }, all],
    ["wrong number of tokens", { finishReason: "length", completionTokens: 2, deltas: 2 }, mayStop],
    ["wrong number of tokens", { finishReason: "stop", completionTokens: 4 }, mayStop],
    ["wrong usage", { deltas: 4 }, all],
  ])("%s: %j", (kind, given, expected) => {
    expect(faultOf(timeline(given), expected)?.kind).toBe(kind);
  });
});
