import OpenAI from "openai";
import { afterEach, describe, expect, it } from "vitest";
import { EngineError } from "../../server/engine/errors.ts";
import type { StartedServer } from "../../server/start.ts";
import { FakeEngine, gate, type Script } from "../support/fake-engine.ts";
import { serve, servingOf, testTokenizer } from "../support/serving.ts";

let server: StartedServer | undefined;
afterEach(async () => {
  await server?.close();
  server = undefined;
});

const words: Script = () => ["Once", " upon", " a", " time"].values();

async function start(script: Script = words, options: Readonly<Record<string, unknown>> = {}) {
  const engine = new FakeEngine(script);
  server = await serve(servingOf(engine), options);
  await server.ready;
  const openai = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
  return { engine, openai, url: server.url };
}

const model = "test-model";
const hello = [{ role: "user" as const, content: "Hello" }];

describe("the openai client", () => {
  it("gets a whole completion", async () => {
    const { openai, engine } = await start();
    const answer = await openai.completions.create({ model, prompt: "Hello", max_tokens: 3, temperature: 0 });
    expect(answer).toMatchObject({
      object: "text_completion",
      model,
      choices: [{ index: 0, text: "Once upon a", logprobs: null, finish_reason: "length" }],
      usage: { prompt_tokens: 3, completion_tokens: 3, total_tokens: 6 },
    });
    expect(answer.id).toMatch(/^cmpl-/);
    expect(engine.requests[0]).toMatchObject({
      promptIds: testTokenizer.encode("Hello"),
      sampling: { maxTokens: 3, temperature: 0, topP: 1, topK: 0, stop: [], ignoreEos: false },
      attention: { mode: "sparq", r: 8, k: 64, local: 16 },
    });
  });

  it("gets a whole chat completion", async () => {
    const { openai, engine } = await start();
    const answer = await openai.chat.completions.create({ model, messages: hello });
    expect(answer).toMatchObject({
      object: "chat.completion",
      choices: [
        {
          index: 0,
          message: { role: "assistant", content: "Once upon a time", refusal: null },
          finish_reason: "length",
        },
      ],
    });
    const promptIds = testTokenizer.applyChatTemplate(hello, { addGenerationPrompt: true });
    expect(engine.requests[0]?.promptIds).toEqual(promptIds);
    expect(engine.requests[0]?.sampling).toMatchObject({ maxTokens: 128 - promptIds.length, temperature: 1 });
  });

  it("streams a completion, one chunk a token, with usage at the end", async () => {
    const { openai } = await start(() => ["Once", "", { text: " upon", finish: "stop" as const }].values());
    const stream = await openai.completions.create({
      model,
      prompt: "Hello",
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    expect(chunks.map(({ choices }) => choices.map(({ text, finish_reason }) => [text, finish_reason]))).toEqual([
      [["Once", null]],
      [["", null]],
      [[" upon", "stop"]],
      [],
    ]);
    expect(chunks.map(({ usage }) => usage)).toEqual([
      null,
      null,
      null,
      { prompt_tokens: 3, completion_tokens: 3, total_tokens: 6, prompt_tokens_details: { cached_tokens: 0 } },
    ]);
    expect(new Set(chunks.map(({ id, created }) => `${id} ${created}`)).size).toBe(1);
  });

  it("streams a chat: a role, one chunk a token, a reason", async () => {
    const { openai } = await start(() => ["Once", { text: " upon", finish: "stop" as const }].values());
    const stream = await openai.chat.completions.create({ model, messages: hello, stream: true });
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    expect(chunks.map(({ choices }) => [choices[0]?.delta, choices[0]?.finish_reason])).toEqual([
      [{ role: "assistant", content: "" }, null],
      [{ content: "Once" }, null],
      [{ content: " upon" }, null],
      [{}, "stop"],
    ]);
    expect(chunks.every((chunk) => chunk.object === "chat.completion.chunk" && !("usage" in chunk))).toBe(true);
  });

  it("gets n choices for each of several prompts, in order, with seeds that count up", async () => {
    const { openai, engine } = await start(({ promptIds, sampling }) => [`${promptIds} ${sampling.seed}`]);
    const answer = await openai.completions.create({
      model,
      prompt: [
        [5, 6],
        [7, 8],
      ],
      n: 2,
      seed: 40,
      max_tokens: 4,
    });
    expect(answer.choices.map(({ index, text }) => [index, text])).toEqual([
      [0, "5,6 40"],
      [1, "5,6 41"],
      [2, "7,8 40"],
      [3, "7,8 41"],
    ]);
    expect(answer.usage).toMatchObject({ prompt_tokens: 4, completion_tokens: 4, total_tokens: 8 });
    expect(new Set(engine.requests.map(({ id }) => id)).size).toBe(4);
  });

  it("is told how much of each prompt was cached, once for all choices of a prompt, streamed or not", async () => {
    const { openai, engine } = await start();
    engine.cachedPromptTokens = 2;
    const options = { model, prompt: ["Hello", "Hello"], n: 3, max_tokens: 2, temperature: 1 };
    const whole = await openai.completions.create(options);
    expect(whole.usage).toEqual({
      ...{ prompt_tokens: 6, completion_tokens: 12, total_tokens: 18 },
      prompt_tokens_details: { cached_tokens: 4 },
    });
    const stream = await openai.completions.create({
      ...options,
      stream: true,
      stream_options: { include_usage: true },
    });
    let last: unknown;
    for await (const chunk of stream) last = chunk.usage;
    expect(last).toEqual(whole.usage);
    const chat = await openai.chat.completions.create({ model, messages: hello, max_tokens: 1 });
    expect(chat.usage?.prompt_tokens_details).toEqual({ cached_tokens: 2 });
  });

  it("streams n choices, each with one role and one reason", async () => {
    const { openai } = await start(() => ["a", "b"].values());
    const stream = await openai.chat.completions.create({ model, messages: hello, n: 3, max_tokens: 2, stream: true });
    const seen = new Map<number, string[]>();
    for await (const { choices } of stream) {
      const { index, delta, finish_reason } = choices[0]!;
      seen.set(index, [...(seen.get(index) ?? []), delta.role ?? finish_reason ?? delta.content ?? ""]);
    }
    const whole = ["assistant", "a", "b", "length"];
    expect([...seen].sort(([a], [b]) => a - b)).toEqual([0, 1, 2].map((index) => [index, whole]));
  });

  it("streams many choices without a warning of leaks", async () => {
    const warnings: Error[] = [];
    const onWarning = (warning: Error) => warnings.push(warning);
    process.on("warning", onWarning);
    const { openai } = await start(() => ["a"]);
    const answer = await openai.completions.create({ model, prompt: "Hello", n: 40, max_tokens: 1 });
    expect(answer.choices).toHaveLength(40);
    await new Promise(setImmediate);
    process.off("warning", onWarning);
    expect(warnings).toEqual([]);
  });

  it("has a stream's headers before its first token, and no role before it", async () => {
    const first = gate();
    const { url } = await start(async function* () {
      await first.opened;
      yield "x";
    });
    const body = JSON.stringify({ messages: hello, max_tokens: 1, stream: true });
    const response = await fetch(`${url}/v1/chat/completions`, { method: "POST", body });
    expect(response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
    first.open();
    const lines = (await response.text()).split("\n\n");
    expect(lines.at(-2)).toBe("data: [DONE]");
    expect(lines[0]).toMatch(/^data: \{.*"delta":\{"role":"assistant","content":""\}/);
  });

  it("gets an answer of no tokens", async () => {
    const { openai } = await start();
    const answer = await openai.completions.create({ model, prompt: "Hello", max_tokens: 0 });
    expect(answer.choices).toMatchObject([{ text: "", finish_reason: "length" }]);
    const stream = await openai.chat.completions.create({ model, messages: hello, max_tokens: 0, stream: true });
    const reasons = [];
    for await (const { choices } of stream) reasons.push(choices[0]?.finish_reason);
    expect(reasons).toEqual([null, "length"]);
  });

  it("passes on sampling and attention settings", async () => {
    const { openai, engine } = await start();
    await openai.chat.completions.create({
      model,
      messages: [{ role: "developer", content: [{ type: "text", text: "Be brief." }] }, ...hello],
      max_tokens: 9,
      max_completion_tokens: 2,
      temperature: 0.5,
      top_p: 0.9,
      stop: "\n",
      seed: 7,
      // Extensions.
      ...{
        top_k: 5,
        ignore_eos: true,
        sparq: { k: 20, r: 4, mean_value: true, group_sum: "logits", top_k_buckets: 2 },
        unknown: 1,
      },
    });
    expect(engine.requests[0]).toMatchObject({
      promptIds: testTokenizer.applyChatTemplate([{ role: "system", content: "Be brief." }, ...hello], {
        addGenerationPrompt: true,
      }),
      sampling: { maxTokens: 2, temperature: 0.5, topP: 0.9, topK: 5, stop: ["\n"], seed: 7, ignoreEos: true },
      attention: { mode: "sparq", r: 4, k: 20, local: 5, meanValue: true, groupSum: "logits", bucketTopK: 2 },
    });
  });

  it("lists the model", async () => {
    const { openai } = await start();
    const { data } = await openai.models.list();
    expect(data).toMatchObject([{ id: model, object: "model", root: "test/source", max_model_len: 128 }]);
    expect((await openai.models.retrieve(model)).id).toBe(model);
    await expect(openai.models.retrieve("other")).rejects.toMatchObject({ status: 404, code: "model_not_found" });
  });

  it("leaves a stream, and the engine stops", async () => {
    const { openai, engine } = await start(async function* () {
      for (;;) {
        yield "x";
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    });
    const stream = await openai.completions.create({ model, prompt: "Hello", max_tokens: 1e6, n: 2, stream: true });
    for await (const _ of stream) break;
    await expect.poll(() => engine.running).toBe(0);
  });

  it("gives up waiting for a whole answer, and the engine stops", async () => {
    const never = gate();
    const { openai, engine } = await start(async function* () {
      await never.opened;
      yield "x";
    });
    const controller = new AbortController();
    const answer = openai.completions.create({ model, prompt: "Hello" }, { signal: controller.signal });
    await expect.poll(() => engine.running).toBe(1);
    controller.abort();
    await expect(answer).rejects.toThrow(OpenAI.APIUserAbortError);
    await expect.poll(() => engine.running).toBe(0);
  });

  it("gets a refusal of the engine as a status, streamed or not", async () => {
    const refusal = new EngineError("context_overflow", "the prompt has 200 tokens; the context is 128 tokens");
    const { openai, engine } = await start(() => [refusal].values());
    for (const stream of [false, true]) {
      await expect(openai.chat.completions.create({ model, messages: hello, n: 2, stream })).rejects.toMatchObject({
        status: 400,
        code: "context_length_exceeded",
        param: "messages",
        message: expect.stringMatching(/200 tokens.*128 tokens/),
      });
    }
    expect(engine.running).toBe(0);
  });

  it("throws its own class for each kind of refusal, with the server's words", async () => {
    const { url } = await start(
      ({ sampling }) => [new EngineError(sampling.maxTokens === 1 ? "queue_full" : "closed", "not now")],
      { apiKey: ["a-key-of-this-server"] },
    );
    const client = (apiKey: string) => new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });
    const allowed = client("a-key-of-this-server");
    const body = { model, prompt: "Hello", max_tokens: 1 };
    const refusals = [
      [client("wrong").completions.create(body), OpenAI.AuthenticationError, 401],
      [allowed.completions.create({ ...body, temperature: -1 }), OpenAI.BadRequestError, 400],
      [allowed.completions.create({ ...body, model: "other" }), OpenAI.NotFoundError, 404],
      [allowed.completions.create(body), OpenAI.RateLimitError, 429],
      [allowed.completions.create({ ...body, stream: true }), OpenAI.RateLimitError, 429],
      [allowed.completions.create({ ...body, max_tokens: 2 }), OpenAI.InternalServerError, 503],
    ] as const;
    for (const [refusal, kind, status] of refusals) {
      const error = await Promise.resolve<unknown>(refusal).catch((thrown) => thrown);
      expect(error).toBeInstanceOf(kind);
      expect(error).toMatchObject({ status, code: expect.any(String), message: expect.stringMatching(/\w+ \w+/) });
    }
  });

  it("comes again by itself when it is told to come later", async () => {
    let times = 0;
    const { url } = await start(() => {
      times += 1;
      return times === 1 ? [new EngineError("queue_full", "not now")] : ["fine"];
    });
    const patient = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 1 });
    const answer = await patient.completions.create({ model, prompt: "Hello", max_tokens: 1 });
    expect([answer.choices[0]!.text, times]).toEqual(["fine", 2]);
  });

  it("gets log-probabilities in a stream of several choices, each with its own", async () => {
    const logprobs = (id: number) => ({ id, logprob: -id, top: [{ tokenId: id, logprob: -id }] });
    const { openai } = await start(({ sampling }) =>
      [1, 2].map((i) => ({ text: "x", logprobs: logprobs(10 * (sampling.seed ?? 0) + i) })),
    );
    const chat = { model, messages: hello, n: 2, seed: 1, max_tokens: 2, logprobs: true, top_logprobs: 1 };
    const seen = new Map<number, number[]>();
    for await (const { choices } of await openai.chat.completions.create({ ...chat, stream: true })) {
      for (const { index, logprobs } of choices) {
        const found = (logprobs?.content ?? []).map(({ logprob }) => logprob);
        seen.set(index, [...(seen.get(index) ?? []), ...found]);
      }
    }
    expect([seen.get(0), seen.get(1)]).toEqual([
      [-11, -12],
      [-21, -22],
    ]);
  });

  it("gets a failure during a stream as an error event", async () => {
    const { openai, engine } = await start(() => ["Once", new EngineError("step_failed", "secret detail")].values());
    const stream = await openai.completions.create({ model, prompt: "Hello", n: 2, stream: true });
    const texts: string[] = [];
    const reading = (async () => {
      for await (const { choices } of stream) texts.push(choices[0]!.text);
    })();
    await expect(reading).rejects.toMatchObject({ code: "internal_error" });
    expect(texts.length).toBeGreaterThanOrEqual(1);
    await expect.poll(() => engine.running).toBe(0);
  });
});
