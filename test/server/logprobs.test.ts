import OpenAI from "openai";
import { afterEach, describe, expect, it } from "vitest";
import type { Tokenizer } from "../../server/engine/types.ts";
import { CompletionLogprobsWriter, chatLogprobs, type ScoredToken } from "../../server/logprobs.ts";
import type { StartedServer } from "../../server/start.ts";
import { FakeEngine } from "../support/fake-engine.ts";
import { serve, servingOf, testTokenizer } from "../support/serving.ts";
import { TableTokenizer } from "../support/table-tokenizer.ts";

let server: StartedServer | undefined;
afterEach(async () => {
  await server?.close();
  server = undefined;
});

const ids = testTokenizer.encode("Hello world", { addSpecialTokens: false });
const texts = ids.map((id) => testTokenizer.decode([id]));
const [first, second] = ids as [number, number];
const top = [
  { tokenId: first, logprob: -0.25 },
  { tokenId: second, logprob: -Infinity },
];

/** An engine that writes the tokens of "Hello world", the first the likeliest, the others not among the likeliest two. */
async function start() {
  const engine = new FakeEngine(({ sampling }) => {
    return ids.map((id, i) => {
      const logprobs = { id, logprob: i === 0 ? -0.25 : -3.5, top: top.slice(0, sampling.logprobs) };
      return { text: texts[i]!, ...(sampling.logprobs === undefined ? {} : { logprobs }) };
    });
  });
  server = await serve(servingOf(engine));
  await server.ready;
  return { engine, openai: new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 }) };
}

const model = "test-model";
const messages = [{ role: "user" as const, content: "Hi" }];
const max_tokens = ids.length;

describe("completions", () => {
  it("have the tokens, their log-probabilities, the likeliest, and where each begins", async () => {
    const { openai, engine } = await start();
    const { choices } = await openai.completions.create({ model, prompt: "Hi", max_tokens, logprobs: 1 });
    expect(engine.requests[0]!.sampling.logprobs).toBe(1);
    const logprobs = choices[0]!.logprobs!;
    expect(logprobs.tokens).toEqual(texts);
    expect(logprobs.token_logprobs).toEqual([-0.25, ...ids.slice(1).map(() => -3.5)]);
    // The token itself is there even if it is not among the likeliest, and nothing twice.
    expect(logprobs.top_logprobs!.slice(0, 2)).toEqual([
      { [texts[0]!]: -0.25 },
      { [texts[0]!]: -0.25, [texts[1]!]: -3.5 },
    ]);
    expect(logprobs.text_offset).toEqual(texts.map((_, i) => texts.slice(0, i).join("").length));
  });

  it("stream the same, token by token", async () => {
    const { openai } = await start();
    const body = { model, prompt: "Hi", max_tokens, logprobs: 2 };
    const whole = (await openai.completions.create(body)).choices[0]!.logprobs!;
    const parts = [];
    for await (const { choices } of await openai.completions.create({ ...body, stream: true })) {
      parts.push(choices[0]!.logprobs!);
    }
    expect(parts.flatMap(({ tokens }) => tokens)).toEqual(whole.tokens);
    expect(parts.flatMap(({ text_offset }) => text_offset)).toEqual(whole.text_offset);
    expect(parts.flatMap(({ top_logprobs }) => top_logprobs)).toEqual(whole.top_logprobs);
    expect(parts.flatMap(({ token_logprobs }) => token_logprobs)).toEqual(whole.token_logprobs);
  });

  it("have none unasked", async () => {
    const { openai, engine } = await start();
    const { choices } = await openai.completions.create({ model, prompt: "Hi", max_tokens });
    expect([choices[0]!.logprobs, engine.requests[0]!.sampling.logprobs]).toEqual([null, undefined]);
  });
});

describe("chat completions", () => {
  it("have each token with its bytes and the likeliest in its place", async () => {
    const { openai, engine } = await start();
    const body = { model, messages, max_tokens, logprobs: true, top_logprobs: 2 };
    const content = (await openai.chat.completions.create(body)).choices[0]!.logprobs!.content!;
    expect(engine.requests[0]!.sampling.logprobs).toBe(2);
    const bytes = [...Buffer.from(texts[0]!)];
    expect(content).toHaveLength(ids.length);
    expect(content[0]).toEqual({
      token: texts[0],
      logprob: -0.25,
      bytes,
      // JSON has no infinity.
      top_logprobs: [
        { token: texts[0], logprob: -0.25, bytes },
        { token: texts[1], logprob: -9999, bytes: [...Buffer.from(texts[1]!)] },
      ],
    });
    const streamed = [];
    for await (const { choices } of await openai.chat.completions.create({ ...body, stream: true })) {
      streamed.push(...(choices[0]!.logprobs?.content ?? []));
    }
    expect(streamed).toEqual(content);
  });

  it("have none of the likeliest with logprobs alone, and nothing without", async () => {
    const { openai } = await start();
    const bare = await openai.chat.completions.create({ model, messages, max_tokens, logprobs: true });
    expect(bare.choices[0]!.logprobs!.content!.map(({ top_logprobs }) => top_logprobs)).toEqual(ids.map(() => []));
    expect((await openai.chat.completions.create({ model, messages, max_tokens })).choices[0]!.logprobs).toBeNull();
  });
});

describe("tokens", () => {
  const emoji = testTokenizer.encode("\u{1f469}", { addSpecialTokens: false });
  const scored = emoji.map((tokenId) => ({
    tokenId,
    logprobs: { logprob: -1, top: emoji.map((id, i) => ({ tokenId: id, logprob: -1 - i })) },
  }));
  const write = (tokenizer: Tokenizer, tokens: readonly ScoredToken[]) =>
    new CompletionLogprobsWriter(tokenizer, { echo: false }).write(tokens, { skipSpecialTokens: true });

  it("that are parts of characters are told apart by their bytes", () => {
    expect(emoji.length).toBeGreaterThan(1);
    const { content } = chatLogprobs(
      testTokenizer,
      scored.map((token) => ({ ...token, text: "", finishReason: null })),
    )!;
    expect(content.flatMap(({ bytes }) => bytes)).toEqual([...Buffer.from("\u{1f469}")]);
    expect(content[0]!.token).toMatch(/^(\\x[0-9a-f]{2})+$/);
    expect(content[0]!.top_logprobs).toHaveLength(emoji.length);
    const { tokens, top_logprobs } = write(testTokenizer, scored);
    expect(tokens).toEqual(content.map(({ token }) => `bytes:${token}`));
    expect(Object.keys(top_logprobs[0]!)).toEqual(tokens);
  });

  it("of the same text share an entry, the likelier one's", () => {
    const twins = new TableTokenizer(["a", "a"]);
    const top = [0, 1].map((tokenId) => ({ tokenId, logprob: -1 - tokenId }));
    const { token_logprobs, top_logprobs } = write(twins, [{ tokenId: 1, logprobs: { logprob: -2, top } }]);
    expect({ token_logprobs, top_logprobs }).toEqual({ token_logprobs: [-2], top_logprobs: [{ a: -1 }] });
  });

  it("that cannot come are as unlikely as JSON can say", () => {
    const logprobs = { logprob: -Infinity, top: [{ tokenId: emoji[1]!, logprob: 0 }] };
    const { token_logprobs, top_logprobs } = write(testTokenizer, [{ tokenId: emoji[0]!, logprobs }]);
    expect(token_logprobs).toEqual([-9999]);
    expect(Object.values(top_logprobs[0]!)).toEqual([0, -9999]);
  });
});

it("parameters reach the engine", async () => {
  const { openai, engine } = await start();
  await openai.completions.create({
    model,
    prompt: "Hi",
    max_tokens: 1,
    presence_penalty: 0.5,
    frequency_penalty: -0.5,
    logit_bias: { "5": -100 },
    ...{ min_p: 0.1, repetition_penalty: 1.2, min_tokens: 1, stop_token_ids: [7] },
  });
  expect(engine.requests[0]!.sampling).toMatchObject({
    minP: 0.1,
    minTokens: 1,
    stopTokenIds: [7],
    presencePenalty: 0.5,
    frequencyPenalty: -0.5,
    repetitionPenalty: 1.2,
    logitBias: new Map([[5, -100]]),
  });
});
