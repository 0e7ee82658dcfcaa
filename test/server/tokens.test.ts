import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { StartedServer } from "../../server/start.ts";
import { FakeEngine } from "../support/fake-engine.ts";
import { serve, servingOf, testTokenizer, testTokenizerFiles } from "../support/serving.ts";

let server: StartedServer;
beforeAll(async () => {
  server = await serve(servingOf(new FakeEngine(() => ["fine"])), { maxBodyMb: 2 });
  await server.ready;
});
afterAll(() => server.close());

async function post(path: string, body: object) {
  const response = await fetch(server.url + path, { method: "POST", body: JSON.stringify(body) });
  return { status: response.status, body: await response.json() };
}

const eos = testTokenizer.eosTokenIds[0]!;
const end = testTokenizer.decode([eos]);

describe("/tokenize", () => {
  it("gives a prompt's ids as /v1/completions would see them, and how many", async () => {
    const tokens = testTokenizer.encode("Hello world");
    const { status, body } = await post("/tokenize", { model: "test-model", prompt: "Hello world" });
    expect(status).toBe(200);
    expect(body).toEqual({ tokens, count: tokens.length, max_model_len: 128, token_strs: null });
    const bare = await post("/tokenize", { prompt: "Hello world", add_special_tokens: false });
    expect(bare.body).toMatchObject({ tokens: testTokenizer.encode("Hello world", { addSpecialTokens: false }) });
    expect((await post("/tokenize", { prompt: "", add_special_tokens: null })).body).toMatchObject({ count: 0 });
  });

  it("knows special tokens by their spelling, or not", async () => {
    const prompt = `a${end}`;
    const parsed = await post("/tokenize", { prompt, add_special_tokens: false });
    expect(parsed.body).toMatchObject({ tokens: testTokenizer.encode(prompt, { parseSpecial: true }) });
    expect((await post("/tokenize", { prompt: end, add_special_tokens: false })).body).toMatchObject({ tokens: [eos] });
    const text = await post("/tokenize", { prompt, parse_special: false });
    expect(text.body).toMatchObject({ tokens: testTokenizer.encode(prompt) });
  });

  it("gives a conversation's ids, with or without the beginning of the answer", async () => {
    const messages = [{ role: "user", content: [{ type: "text", text: "Hi" }] }];
    for (const add_generation_prompt of [true, false]) {
      const { body } = await post("/tokenize", { messages, add_generation_prompt });
      const rendered = testTokenizer.applyChatTemplate([{ role: "user", content: "Hi" }], {
        addGenerationPrompt: add_generation_prompt,
      });
      expect(body).toMatchObject({ tokens: rendered });
    }
  });

  it("gives each token's text if asked to", async () => {
    const { body } = await post("/tokenize", { prompt: "Hello \u{1f469}", return_token_strs: true });
    const { tokens, token_strs } = body as { tokens: number[]; token_strs: string[] };
    expect(token_strs).toHaveLength(tokens.length);
    expect(token_strs[0]).toBe(testTokenizer.decode([tokens[0]!]));
    expect(token_strs.at(-1)).toMatch(/^(\\x[0-9a-f]{2})+$/);
  });

  it("takes texts that are longer than the context", async () => {
    const { status, body } = await post("/tokenize", { prompt: "All work and no play. ".repeat(2000) });
    expect({ status, body }).toMatchObject({ status: 200, body: { count: expect.any(Number) } });
    expect((body as { count: number }).count).toBeGreaterThan(5000);
  });

  it.each<[string, object, string, number]>([
    ["neither", {}, "prompt", 400],
    ["both", { prompt: "a", messages: [{ role: "user", content: "a" }] }, "prompt", 400],
    ["ids", { prompt: [1] }, "prompt", 400],
    ["a message that is none", { messages: [{ role: "user" }] }, "messages[0].content", 400],
    ["another model", { prompt: "a", model: "other" }, "model", 404],
  ])("refuses %s", async (_, request, param, status) => {
    expect(await post("/tokenize", request)).toMatchObject({ status, body: { error: { param } } });
  });
});

describe("/detokenize", () => {
  it("gives the text of ids, special ones spelled", async () => {
    const tokens = [...testTokenizer.encode("Hello \u{1f469}", { addSpecialTokens: false }), eos];
    expect(await post("/detokenize", { tokens })).toEqual({ status: 200, body: { prompt: `Hello \u{1f469}${end}` } });
    expect((await post("/detokenize", { tokens: [] })).body).toEqual({ prompt: "" });
  });

  it("undoes /tokenize", async () => {
    const prompt = `né ${end}\n\u{1f469}\u200d\u{1f467}  ok`;
    const { body } = await post("/tokenize", { prompt, add_special_tokens: false });
    expect((await post("/detokenize", { tokens: (body as { tokens: number[] }).tokens })).body).toEqual({ prompt });
  });

  it.each<[string, object, string, RegExp]>([
    ["no ids", {}, "tokens", /./],
    ["text", { tokens: "a" }, "tokens", /./],
    ["a negative id", { tokens: [1, -1] }, "tokens[1]", /./],
    ["a foreign id", { tokens: [1, 2, 99_999] }, "tokens[2]", /99999 is outside the vocabulary of \d+/],
    ["too many", { tokens: new Array(131_073).fill(1) }, "tokens", /131073 items; 131072 is the most/],
  ])("refuses %s", async (_, request, param, message) => {
    const answer = await post("/detokenize", request);
    expect(answer).toMatchObject({ status: 400, body: { error: { param } } });
    expect((answer.body as { error: { message: string } }).error.message).toMatch(message);
  });
});

describe("/tokenizer_info", () => {
  it("names the special tokens and gives the chat template", async () => {
    const response = await fetch(`${server.url}/tokenizer_info`);
    expect(response.status).toBe(200);
    const { tokenizerConfig, chatTemplate } = testTokenizerFiles;
    expect(await response.json()).toEqual({
      tokenizer_class: tokenizerConfig.tokenizer_class ?? null,
      bos_token: tokenizerConfig.bos_token ?? null,
      eos_token: end,
      unk_token: tokenizerConfig.unk_token ?? null,
      pad_token: tokenizerConfig.pad_token ?? null,
      chat_template: chatTemplate,
      model_max_length: 128,
      vocab_size: testTokenizer.vocabSize,
    });
  });
});
