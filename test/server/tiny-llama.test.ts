import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseServerOptions } from "../../server/config.ts";
import { loadServing } from "../../server/load-serving.ts";
import type { Serving } from "../../server/serving.ts";
import { type StartedServer, startServer } from "../../server/start.ts";
import { parseExposition, sampleValue } from "../support/exposition.ts";
import { silentLog } from "../support/serving.ts";

let server: StartedServer;
let serving: Serving;
let openai: OpenAI;
beforeAll(async () => {
  const small = { threads: 1, kvCacheMb: 64, maxContext: 1024 };
  const options = parseServerOptions({ model: "tiny-llama", port: 0, graceSeconds: 0, ...small });
  server = await startServer(options, { load: loadServing, log: silentLog });
  serving = await server.ready;
  openai = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
});
afterAll(() => server.close());

const model = "tiny-llama";
const prompt = "The Queen turned angrily away from him, and said to the Knave";
const messages = [{ role: "user" as const, content: prompt }];

async function health() {
  return (await fetch(`${server.url}/health`)).json();
}

/** The texts of a streamed completion, by choice. */
async function streamed(body: Omit<OpenAI.CompletionCreateParamsNonStreaming, "model" | "stream">) {
  const texts: string[][] = Array.from({ length: body.n ?? 1 }, () => []);
  const stream = await openai.completions.create({ model, ...body, stream: true });
  for await (const { choices } of stream) for (const { index, text } of choices) texts[index]!.push(text);
  return texts;
}

describe("tiny-llama behind the openai client", () => {
  it("streams a completion that equals the whole one", async () => {
    const body = { model, prompt, max_tokens: 40, temperature: 0, ...{ ignore_eos: true } };
    const whole = await openai.completions.create(body);
    const pieces = (await streamed(body))[0]!;
    expect(pieces).toHaveLength(whole.usage!.completion_tokens);
    expect(pieces.join("")).toBe(whole.choices[0]!.text);
    expect(whole.choices[0]!.text.length).toBeGreaterThan(40);
    expect(whole.usage!.prompt_tokens).toBe(serving.tokenizer.encode(prompt).length);
  });

  it("streams a chat that equals the whole one, and counts the same", async () => {
    const body = { model, messages, max_tokens: 24, seed: 3 };
    const whole = await openai.chat.completions.create(body);
    let text = "";
    let usage: OpenAI.CompletionUsage | null | undefined;
    const options = { stream: true as const, stream_options: { include_usage: true } };
    for await (const chunk of await openai.chat.completions.create({ ...body, ...options })) {
      text += chunk.choices[0]?.delta.content ?? "";
      usage = chunk.usage;
    }
    expect(text).toBe(whole.choices[0]!.message.content);
    expect(usage).toEqual(whole.usage);
    expect(whole.usage!.total_tokens).toBe(whole.usage!.prompt_tokens + whole.usage!.completion_tokens);
  });

  it("makes n different choices that a seed brings back", async () => {
    const body = { prompt, n: 2, max_tokens: 20, temperature: 1, seed: 11 };
    const [first, second] = (await streamed(body)).map((pieces) => pieces.join(""));
    expect(first).not.toBe(second);
    const again = await openai.completions.create({ model, ...body });
    expect(again.choices.map(({ text }) => text)).toEqual([first, second]);
    const other = await openai.completions.create({ model, ...body, n: 1, seed: 12 });
    expect(other.choices[0]!.text).toBe(second);
  });

  it("stops at a string that begins in one token and ends in another, and shows none of it", async () => {
    const greedy = { prompt, max_tokens: 40, temperature: 0, ...{ ignore_eos: true } };
    const pieces = (await streamed(greedy))[0]!;
    const text = pieces.join("");
    // The last letter of a token and the first of the next, at their first occurrence.
    const boundary = pieces.slice(0, 10).join("").length;
    const stop = text.slice(boundary - 1, boundary + 1);
    const expected = text.slice(0, text.indexOf(stop));
    const body = { ...greedy, model, stop: ["never to be seen", stop] };
    const whole = await openai.completions.create(body);
    expect(whole.choices[0]).toMatchObject({ text: expected, finish_reason: "stop" });
    expect((await streamed(body))[0]!.join("")).toBe(expected);
  });

  it("attends as the request says: r and k without bounds are dense, small ones are not", async () => {
    const long = Array.from({ length: 12 }, () => prompt).join(" ");
    const texts = new Map<string, string>();
    const settings = {
      dense: { mode: "dense" },
      everything: { mode: "sparq", r: serving.headDim, k: 100_000, mean_value: false },
      little: { mode: "sparq", r: 1, k: 2, local: 1 },
    };
    for (const [name, sparq] of Object.entries(settings)) {
      const body = { model, prompt: long, max_tokens: 30, temperature: 0, ...{ sparq } };
      texts.set(name, (await openai.completions.create(body)).choices[0]!.text);
    }
    expect(texts.get("everything")).toBe(texts.get("dense"));
    expect(texts.get("little")).not.toBe(texts.get("dense"));
  });

  it("gives the same text alone and beside others", async () => {
    const body = { model, prompt, max_tokens: 30, temperature: 0 };
    const alone = await openai.completions.create(body);
    const crowd = await Promise.all([
      openai.completions.create(body),
      ...["Alice", "It was", "1 2 3"].map((other) => openai.completions.create({ ...body, prompt: other })),
      openai.completions.create({ ...body, temperature: 1, n: 3 }),
    ]);
    expect(crowd[0]!.choices[0]!.text).toBe(alone.choices[0]!.text);
  });

  it("frees what a client leaves behind in the middle of a stream", async () => {
    const body = { model, prompt, max_tokens: 900, n: 3, ...{ ignore_eos: true } };
    for await (const _ of await openai.completions.create({ ...body, stream: true })) break;
    await expect.poll(health).toMatchObject({ status: "ok", running: 0, waiting: 0, kv_cache_usage: 0 });
  });

  it("refuses a prompt over the context with both numbers, and ids outside the vocabulary", async () => {
    const tooLong = new Array(5000).fill(5);
    await expect(openai.completions.create({ model, prompt: tooLong })).rejects.toMatchObject({
      status: 400,
      code: "context_length_exceeded",
      param: "prompt",
      message: expect.stringMatching(new RegExp(`5000 tokens.*${serving.contextLength}`)),
    });
    await expect(openai.completions.create({ model, prompt: [1, 999_999], stream: true })).rejects.toMatchObject({
      status: 400,
      message: expect.stringContaining("999999"),
    });
    const after = await openai.completions.create({ model, prompt, max_tokens: 1 });
    expect(after.usage!.completion_tokens).toBe(1);
  });

  it("ends at the context when nothing else ends it", async () => {
    const fits = new Array(serving.contextLength - 3).fill(5);
    const body = { model, prompt: fits, max_tokens: 100, temperature: 0, ...{ ignore_eos: true } };
    const answer = await openai.completions.create(body);
    expect(answer.choices[0]!.finish_reason).toBe("length");
    expect(answer.usage!.completion_tokens).toBe(3);
  });
});

describe("tiny-llama's metrics", () => {
  it("grow by what a request did, down to the kernels", async () => {
    const read = async () => parseExposition(await (await fetch(`${server.url}/metrics`)).text());
    const before = await read();
    const tokens = Array.from({ length: 300 }, (_, i) => 200 + (i % 50));
    const sparq = { mode: "sparq", r: 8, k: 32, min_context: 0 };
    const body = { model, prompt: tokens, max_tokens: 5, ...{ ignore_eos: true, sparq } };
    await openai.completions.create(body);
    const after = await read();
    const grown = (name: string, labels = {}) => sampleValue(after, name, labels) - sampleValue(before, name, labels);
    expect(grown("vllm:prompt_tokens_total")).toBe(300);
    expect(grown("vllm:generation_tokens_total")).toBe(5);
    expect(grown("vllm:inter_token_latency_seconds_count")).toBe(4);
    expect(grown("vllm:request_success_total", { finished_reason: "length" })).toBe(1);
    expect(grown("sparq:step_seconds_count")).toBeGreaterThanOrEqual(5);
    expect(grown("sparq:attention_seconds_total")).toBeGreaterThan(0);
    expect(grown("sparq:attention_seconds_total")).toBeLessThan(grown("sparq:step_seconds_sum"));
    // The prompt is read densely, the four tokens after the first are not.
    const [approx, gather, dense] = ["approx", "gather", "dense"].map((kind) =>
      grown("sparq:kv_bytes_read_total", { kind }),
    );
    for (const bytes of [approx, gather, dense]) expect(bytes).toBeGreaterThan(0);
    const all = approx! + gather! + dense!;
    expect(all).toBeLessThan(grown("sparq:dense_bytes_equivalent_total"));
  });
});
