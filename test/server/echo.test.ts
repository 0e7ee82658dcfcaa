import { afterEach, describe, expect, it } from "vitest";
import { createEngine } from "../../server/engine/engine.ts";
import type { ErrorBody } from "../../server/errors.ts";
import type { CompletionResponse } from "../../server/schemas/completions.ts";
import type { StartedServer } from "../../server/start.ts";
import { TokenTexts } from "../../server/token-texts.ts";
import { requestOf } from "../support/engine.ts";
import { FakeRunner, generateAlone, scoreAlone } from "../support/fake-model.ts";
import { generateRequest, loglikelihoodRequest, parseLogprobs, type ScoredChoice } from "../support/lm-eval.ts";
import { serve, servingOf, testTokenizer } from "../support/serving.ts";

const { vocabSize } = testTokenizer;
const contextLength = 128;

let server: StartedServer | undefined;
afterEach(async () => {
  await server?.close();
  server = undefined;
});

/** A model whose logits hash all that came before. */
async function start() {
  const blocks = { blocks: 64, blockSize: 16 };
  const engine = createEngine({
    runner: new FakeRunner({ vocabSize, ...blocks }),
    config: { vocabSize, maxPositions: contextLength, eosTokenIds: [] },
    tokenizer: testTokenizer,
    cache: blocks,
    scheduler: { maxRows: 64, maxScoredRows: 24 },
    checked: true,
  });
  const serving = servingOf(engine, { contextLength });
  server = await serve(serving);
  await server.ready;
  const { url } = server;
  const post = async (body: object) => {
    const response = await fetch(`${url}/v1/completions`, { method: "POST", body: JSON.stringify(body) });
    return { status: response.status, body: (await response.json()) as CompletionResponse & ErrorBody };
  };
  const complete = async (body: object): Promise<CompletionResponse> => (await post(body)).body;
  const stream = async (body: object) => {
    const response = await fetch(`${url}/v1/completions`, {
      method: "POST",
      body: JSON.stringify({ ...body, stream: true }),
    });
    const events = (await response.text()).split("\n\n").filter((event) => event.startsWith("data: {"));
    return events.map((event) => JSON.parse(event.slice(6)) as CompletionResponse);
  };
  const scores = (promptIds: number[]) =>
    scoreAlone({ ...requestOf("x", promptIds), attention: serving.attention }, vocabSize, 1);
  const greedy = (promptIds: number[], maxTokens: number) =>
    generateAlone(
      { ...requestOf("x", promptIds, { maxTokens }), attention: serving.attention },
      vocabSize,
      contextLength,
    );
  return { post, complete, stream, scores, greedy };
}

const range = (length: number, from = 0) => Array.from({ length }, (_, i) => (from + i * 7) % vocabSize);
const prompts = [range(9), range(40, 5), range(2, 11)];

describe("lm-evaluation-harness", () => {
  it.each([1, 0])("gets an entry for each token of prompt and answer, with max_tokens %i", async (maxTokens) => {
    const { complete, scores, greedy } = await start();
    const { choices, usage } = await complete(loglikelihoodRequest(prompts, "test-model", maxTokens));
    expect(choices.map(({ index }) => index)).toEqual([0, 1, 2]);
    for (const [i, prompt] of prompts.entries()) {
      const { tokens, token_logprobs, top_logprobs, text_offset } = choices[i]!.logprobs!;
      const length = prompt.length + maxTokens;
      expect([tokens.length, token_logprobs.length, top_logprobs.length, text_offset.length]).toEqual(
        new Array(4).fill(length),
      );
      expect([token_logprobs[0], top_logprobs[0]]).toEqual([null, null]);
      expect(token_logprobs.slice(1, prompt.length)).toEqual(scores(prompt).map(({ logprob }) => logprob));
      for (const [j, { logprob, top }] of scores(prompt).entries()) {
        const likeliest = top_logprobs[j + 1]!;
        expect(Object.values(likeliest)).toContain(logprob);
        expect(Math.max(...Object.values(likeliest))).toBe(top[0]!.logprob);
        expect(Object.keys(likeliest)).toHaveLength(top[0]!.tokenId === prompt[j + 1] ? 1 : 2);
      }
      const texts = TokenTexts.of(testTokenizer);
      const all = [...prompt, ...greedy(prompt, maxTokens)];
      expect(tokens).toEqual(all.map((id) => texts.markedText(id)));
      expect(choices[i]!.finish_reason).toBe("length");
    }
    const total = prompts.flat().length;
    expect(usage).toEqual({
      prompt_tokens: total,
      completion_tokens: 3 * maxTokens,
      total_tokens: total + 3 * maxTokens,
      prompt_tokens_details: { cached_tokens: expect.any(Number) },
    });
  });

  it("reads the log-likelihood of an answer, and whether greedy decoding gives it", async () => {
    const { complete, scores, greedy } = await start();
    const context = range(20, 3);
    const answer: number[] = [];
    for (let i = 0; i < 5; i++) answer.push(...greedy([...context, ...answer], 1));
    const other = [...answer.slice(0, 4), (answer[4]! + 1) % vocabSize];
    const full = [answer, other, range(6, 50)].map((continuation) => [...context, ...continuation]);
    const { choices } = await complete(loglikelihoodRequest(full, "test-model"));
    const results = parseLogprobs(choices as ScoredChoice[], [20, 20, 20]);
    expect(results.map(([, greedily]) => greedily)).toEqual([true, false, false]);
    for (const [i, [sum]] of results.entries()) {
      const expected = scores(full[i]!)
        .slice(19)
        .reduce((total, { logprob }) => total + logprob, 0);
      expect(sum).toBeCloseTo(expected, 10);
    }
  });

  it("gets the same numbers beside other requests and after them", async () => {
    const { complete } = await start();
    const alone = await complete(loglikelihoodRequest([prompts[1]!], "test-model"));
    const busy = await Promise.all([
      complete(loglikelihoodRequest(prompts, "test-model")),
      complete({ prompt: prompts[1], max_tokens: 30, temperature: 1 }),
      ...[0, 1, 2].map(() => complete(loglikelihoodRequest([prompts[1]!], "test-model"))),
    ]);
    for (const { choices } of [busy[2]!, busy[3]!, busy[4]!]) expect(choices).toEqual(alone.choices);
    expect(busy[0]!.choices[1]!.logprobs).toEqual(alone.choices[0]!.logprobs);
  });

  it("gets texts in the order of the prompts", async () => {
    const { complete } = await start();
    const { choices } = await complete(generateRequest(prompts, "test-model", ["\n\n", "<|im_end|>"]));
    expect(choices.map(({ index }) => index)).toEqual([0, 1, 2]);
    for (const [i, { text }] of choices.entries()) {
      const alone = await complete(generateRequest([prompts[i]!], "test-model", ["\n\n"]));
      expect(text).toBe(alone.choices[0]!.text);
      expect(text.length).toBeGreaterThan(10);
    }
  });
});

describe("echo", () => {
  it("puts the prompt before the text: a string as it is, ids as they are spelled", async () => {
    const { complete } = await start();
    const text = "Hello <|im_end|> world é";
    const ids = testTokenizer.encode("Hello", { addSpecialTokens: false });
    const eos = testTokenizer.eosTokenIds[0]!;
    const bare = await complete({ prompt: text, max_tokens: 3, temperature: 0 });
    const echoed = await complete({ prompt: text, max_tokens: 3, temperature: 0, echo: true });
    expect(echoed.choices[0]).toEqual({ ...bare.choices[0]!, text: text + bare.choices[0]!.text });
    const spelled = await complete({ prompt: [...ids, eos], max_tokens: 0, echo: true });
    expect(spelled.choices[0]).toMatchObject({ text: testTokenizer.decode([...ids, eos]), logprobs: null });
  });

  it("counts offsets from the prompt's first character on", async () => {
    const { complete } = await start();
    const text = "Hello world \u{1f469}!";
    const { choices } = await complete({ prompt: text, max_tokens: 2, temperature: 0, echo: true, logprobs: 0 });
    const { tokens, text_offset, top_logprobs } = choices[0]!.logprobs!;
    const characters = Array.from(choices[0]!.text);
    for (const [i, token] of tokens.slice(0, -2).entries()) {
      if (token.startsWith("bytes:")) continue;
      expect(characters.slice(text_offset[i]!, text_offset[i]! + Array.from(token).length).join("")).toBe(token);
    }
    expect(text_offset.at(-2)).toBe(Array.from(text).length);
    // With logprobs 0 each token has its own alone.
    expect(top_logprobs.slice(1).map((top) => Object.keys(top!).length)).toEqual(tokens.slice(1).map(() => 1));
  });

  it.each([0, 4])("streams what the whole answer has, of %i tokens for each of n choices", async (max_tokens) => {
    const { complete, stream } = await start();
    const body = { prompt: prompts.slice(0, 2), max_tokens, n: 2, seed: 7, echo: true, logprobs: 3 };
    const whole = await complete(body);
    const chunks = (await stream(body)).flatMap(({ choices }) => choices);
    for (const { index, text, logprobs, finish_reason } of whole.choices) {
      const own = chunks.filter((choice) => choice.index === index);
      expect(own).toHaveLength(max_tokens === 0 ? 2 : 1 + max_tokens);
      expect(own.map((choice) => choice.text).join("")).toBe(text);
      expect(own.at(-1)!.finish_reason).toBe(finish_reason);
      const parts = own.flatMap((choice) => choice.logprobs ?? []);
      expect(parts.flatMap(({ tokens }) => tokens)).toEqual(logprobs!.tokens);
      expect(parts.flatMap(({ token_logprobs }) => token_logprobs)).toEqual(logprobs!.token_logprobs);
      expect(parts.flatMap(({ top_logprobs }) => top_logprobs)).toEqual(logprobs!.top_logprobs);
      expect(parts.flatMap(({ text_offset }) => text_offset)).toEqual(logprobs!.text_offset);
    }
    expect(whole.choices).toHaveLength(4);
  });

  it("takes a prompt that fills the context if nothing is to follow", async () => {
    const { post } = await start();
    const full = await post(loglikelihoodRequest([range(contextLength)], "test-model", 0));
    expect(full.status).toBe(200);
    const over = await post(loglikelihoodRequest([range(contextLength)], "test-model"));
    expect(over).toMatchObject({ status: 400, body: { error: { code: "context_length_exceeded" } } });
    expect(over.body.error.message).toMatch(/128 tokens; the context is 128 tokens/);
  });
});

describe("best_of", () => {
  it("gives the n choices of each prompt whose tokens are the likeliest in the mean", async () => {
    const { complete } = await start();
    const body = { prompt: prompts, max_tokens: 6, temperature: 1, seed: 3 };
    const all = await complete({ ...body, n: 5, logprobs: 0 });
    const best = await complete({ ...body, n: 2, best_of: 5, logprobs: 0 });
    const mean = ({ logprobs }: (typeof all.choices)[number]) =>
      logprobs!.token_logprobs.reduce<number>((sum, logprob) => sum + logprob!, 0) / logprobs!.token_logprobs.length;
    for (const [i] of prompts.entries()) {
      const ranked = all.choices.slice(5 * i, 5 * i + 5).sort((a, b) => mean(b) - mean(a));
      const expected = ranked.slice(0, 2).map((choice, j) => ({ ...choice, index: 2 * i + j }));
      expect(best.choices.slice(2 * i, 2 * i + 2)).toEqual(expected);
    }
    expect(best.choices).toHaveLength(6);
    // What was made and not given costs all the same.
    expect(best.usage!.completion_tokens).toBe(all.usage!.completion_tokens);
  });

  it("needs no logprobs in the answer, and goes with echo", async () => {
    const { complete } = await start();
    const body = { prompt: "Hello", max_tokens: 6, seed: 3, best_of: 3 };
    const scored = await complete({ ...body, logprobs: 0, echo: true });
    const bare = await complete(body);
    expect(bare.choices).toHaveLength(1);
    expect(bare.choices[0]!.logprobs).toBeNull();
    expect(scored.choices[0]!.text).toBe(`Hello${bare.choices[0]!.text}`);
  });

  it("is refused where it cannot be, and does nothing where it is n", async () => {
    const { post, complete, stream } = await start();
    const refusal = async (body: object) => (await post({ prompt: "a", ...body })).body.error;
    expect(await refusal({ n: 3, best_of: 2 })).toMatchObject({
      param: "best_of",
      message: "best_of: 2 is less than n, which is 3",
    });
    expect(await refusal({ best_of: 2, stream: true })).toMatchObject({
      param: "best_of",
      message: expect.stringMatching(/cannot be streamed/),
    });
    const body = { prompt: "a", max_tokens: 2, temperature: 0, n: 2 };
    expect((await complete({ ...body, best_of: 2 })).choices).toEqual((await complete(body)).choices);
    expect(await stream({ ...body, best_of: 2 })).toHaveLength(4);
  });
});
