import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Answer } from "../../../bench/serve/client/answer.ts";

const data = (value: unknown) => `data: ${typeof value === "string" ? value : JSON.stringify(value)}\n\n`;
const chat = (content: string | undefined, finish: string | null = null) =>
  data({ choices: [{ index: 0, delta: content === undefined ? {} : { content }, finish_reason: finish }] });
const usage = data({
  choices: [],
  usage: { prompt_tokens: 7, completion_tokens: 2, prompt_tokens_details: { cached_tokens: 4 } },
});

function read(pieces: readonly (readonly [number, string])[]) {
  const answer = new Answer();
  for (const [now, text] of pieces) answer.feed(text, now);
  answer.end();
  return answer.parts();
}

describe("a streamed answer", () => {
  it("is timed by the bytes that complete an event", () => {
    const first = chat("Hé");
    const parts = read([
      [1, ": ping\n\n"],
      [2, first.slice(0, 20)],
      [3, first.slice(20)],
      [5, chat("") + chat("y")],
      [8, chat(undefined, "length")],
      [9, usage],
      [10, data("[DONE]")],
    ]);
    expect(parts).toEqual({
      ...{ chunks: [3, 5, 5, 8], deltas: 2, characters: 3, finishReason: "length", done: true, fault: null },
      ...{ promptTokens: 7, completionTokens: 2, cachedTokens: 4 },
    });
  });

  it("may have completions' text, thoughts, CRLF, no space after the colon, usage in every chunk, and no last blank line", () => {
    const text = JSON.stringify({ choices: [{ text: "a", finish_reason: null }], usage: { completion_tokens: 1 } });
    const thought = { choices: [{ delta: { content: null, reasoning_content: "hm" } }], usage: null };
    const parts = read([[1, `data:${text}\r\n\r\n${data(thought)}data: [DONE]`]]);
    expect(parts).toMatchObject({
      chunks: [1, 1],
      deltas: 2,
      characters: 3,
      completionTokens: 1,
      done: true,
      fault: null,
    });
  });

  it("is the same however its bytes are cut", () => {
    const whole = chat("one") + chat(" two") + chat(undefined, "stop") + usage + data("[DONE]");
    const { chunks, ...expected } = read([[0, whole]]);
    fc.assert(
      fc.property(fc.array(fc.nat(whole.length), { maxLength: 12 }), (cuts) => {
        const places = [0, ...cuts.sort((a, b) => a - b), whole.length];
        const { chunks: times, ...rest } = read(places.slice(1).map((end, i) => [i, whole.slice(places[i], end)]));
        expect(rest).toEqual(expected);
        expect(times).toHaveLength(chunks.length);
        expect(times).toEqual([...times].sort((a, b) => a - b));
      }),
    );
  });

  it.each<[string, string]>([
    ["error in the stream", data({ error: { message: "out of memory", code: 500 } })],
    ["error in the stream", data({ error: "out of memory" })],
    ["malformed event", data("{'choices'")],
    ["malformed event", data("17")],
    ["malformed event", data("null")],
  ])("has a fault: %s", (kind, text) => {
    expect(read([[0, chat("a") + text + chat("b")]])).toMatchObject({ fault: { kind }, deltas: 2 });
  });

  it("that is cut within an event has no end, and no other fault", () => {
    expect(read([[0, chat("a") + chat("b").slice(0, 30)]])).toMatchObject({ fault: null, done: false, deltas: 1 });
  });

  it.each([
    data({ choices: null }),
    data({ choices: [null] }),
    data({ choices: 4 }),
    data({ choices: [{ delta: null }] }),
  ])("survives %j", (text) => {
    expect(read([[0, text + data("[DONE]")]])).toMatchObject({ done: true, characters: 0, finishReason: null });
  });
});
