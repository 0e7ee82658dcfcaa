import OpenAI from "openai";
import { expect, it } from "vitest";
import type { StepSequence } from "../../attention/types.ts";
import { createEngine } from "../../server/engine/engine.ts";
import { serve, servingOf, testTokenizer } from "../support/serving.ts";

/** Characters of 2 to 4 bytes, joined ones, a byte order mark; the test vocabulary has them in pieces only. */
const text = "naïve \u{1f469}\u200d\u{1f469}\u200d\u{1f467} 日本語 \u{1f44d}\u{1f3fd}\ufeff \u{1f1eb}\u{1f1f7}!";
const endOfText = testTokenizer.eosTokenIds[0]!;

/** An engine whose model writes `tokens`, one after the other, whatever the prompt. */
function writing(tokens: readonly number[]) {
  const { vocabSize } = testTokenizer;
  const traffic = { scoreBytes: 0, gatherBytes: 0, denseBytes: 0, denseEquivalentBytes: 0 };
  const next = ({ contextLength, tokenIds, denseUntil }: StepSequence) => {
    const tokenId = tokens[contextLength + tokenIds.length - denseUntil]!;
    return [{ tokenId, logprob: Number.NaN, top: [] }];
  };
  return createEngine({
    runner: { step: async (sequences) => ({ sampled: sequences.map(next), traffic }), copyBlock() {}, close() {} },
    config: { vocabSize, maxPositions: 128, eosTokenIds: [endOfText] },
    tokenizer: testTokenizer,
    cache: { blocks: 8, blockSize: 64 },
  });
}

it("streams characters whole, though tokens hold them in pieces", async () => {
  const tokens = testTokenizer.encode(text, { addSpecialTokens: false });
  expect(tokens.length).toBeGreaterThan(Array.from(text).length);
  const server = await serve(servingOf(writing([...tokens, endOfText])));
  await server.ready;
  const openai = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
  const body = { model: "test-model", prompt: "Hi", max_tokens: 100, temperature: 0 };

  const whole = await openai.completions.create(body);
  expect(whole.choices[0]).toMatchObject({ text, finish_reason: "stop" });
  const pieces: string[] = [];
  for await (const { choices } of await openai.completions.create({ ...body, stream: true })) {
    pieces.push(choices[0]!.text);
  }
  expect(pieces.join("")).toBe(text);
  expect(pieces).toHaveLength(tokens.length + 1);
  expect(pieces.filter((piece) => piece.includes("\ufffd"))).toEqual([]);

  // Cut inside a character, streamed and whole agree too.
  const cut = { ...body, max_tokens: testTokenizer.encode("naïve \u{1f469}", { addSpecialTokens: false }).length - 1 };
  let streamed = "";
  for await (const { choices } of await openai.completions.create({ ...cut, stream: true })) {
    streamed += choices[0]!.text;
  }
  const wholeCut = (await openai.completions.create(cut)).choices[0]!;
  expect(streamed).toBe(wholeCut.text);
  expect(wholeCut.text.startsWith("naïve ")).toBe(true);
  await server.close();
});
