import { cpSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { z } from "zod";
import { loadModel } from "../../models/load.ts";
import { makeNode } from "../../models/onnx/proto.ts";
import { parseServerOptions } from "../../server/config.ts";
import { loadServing } from "../../server/load-serving.ts";
import { statsSchema } from "../../server/schemas/status.ts";
import { type StartedServer, startServer } from "../../server/start.ts";
import {
  builtinFolder,
  editedExport,
  interpose,
  nthNode,
  removeTemporaryFolders,
  temporaryFolder,
} from "../models/exports.ts";
import { parseExposition, sampleValue } from "../support/exposition.ts";
import { silentLog } from "../support/serving.ts";

removeTemporaryFolders();

const small = { port: 0, graceSeconds: 0, threads: 1, kvCacheMb: 64, maxContext: 1024, checked: true };

function start(model: string, changes: Record<string, unknown> = { attention: "onnx" }): Promise<StartedServer> {
  const options = parseServerOptions({ model, ...small, ...changes });
  return startServer(options, { load: loadServing, log: silentLog });
}

function clientOf({ url }: StartedServer): OpenAI {
  return new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
}

async function json({ url }: StartedServer, path: string): Promise<unknown> {
  return (await fetch(`${url}${path}`)).json();
}

const model = "tiny-llama";
const prompt = "The Queen turned angrily away from him, and said to the Knave";
const prompts = [prompt, "Alice was beginning to get very tired of", "Once upon a time", "'Off with his head!'"];
const greedy = { model, max_tokens: 40, temperature: 0, ignore_eos: true };

let asIs: StartedServer;
let kernels: StartedServer;
let openai: OpenAI;
beforeAll(async () => {
  [asIs, kernels] = await Promise.all([
    start(model),
    start(model, { attention: "dense", kvDtype: "f32", speculation: "off" }),
  ]);
  await Promise.all([asIs.ready, kernels.ready]);
  openai = clientOf(asIs);
});
afterAll(() => Promise.all([asIs.close(), kernels.close()]));

describe("tiny-llama as it is, behind the openai client", () => {
  it("answers as the kernels do, several at once, streamed or not", async () => {
    const expected = await clientOf(kernels).completions.create({ ...greedy, prompt: prompts });
    const given = await openai.completions.create({ ...greedy, prompt: prompts });
    expect(given.choices.map(({ text }) => text)).toEqual(expected.choices.map(({ text }) => text));
    expect(given.usage).toEqual(expected.usage);
    const texts = prompts.map(() => "");
    const stream = await openai.completions.create({ ...greedy, prompt: prompts, stream: true });
    for await (const { choices } of stream) for (const { index, text } of choices) texts[index] += text;
    expect(texts).toEqual(expected.choices.map(({ text }) => text));
  });

  it("draws what the kernels draw for the same seed", async () => {
    const body = { model, prompt, n: 3, max_tokens: 20, temperature: 0.8, top_p: 0.95, seed: 11 };
    const texts = async (client: OpenAI) => (await client.completions.create(body)).choices.map(({ text }) => text);
    const given = await texts(openai);
    expect(given).toEqual(await texts(clientOf(kernels)));
    expect(new Set(given).size).toBeGreaterThan(1);
  });

  it("streams a chat that equals the whole one", async () => {
    const messages = [{ role: "user" as const, content: prompt }];
    const body = { model, messages, max_tokens: 24, temperature: 0 };
    const whole = await openai.chat.completions.create(body);
    let text = "";
    for await (const { choices } of await openai.chat.completions.create({ ...body, stream: true })) {
      text += choices[0]?.delta.content ?? "";
    }
    expect(text).toBe(whole.choices[0]!.message.content);
    expect(text.length).toBeGreaterThan(0);
  });

  it("gives the log-probabilities of a prompt that the kernels give", async () => {
    const body = { model, prompt, max_tokens: 1, temperature: 0, logprobs: 1, echo: true };
    const [given, expected] = await Promise.all([openai, clientOf(kernels)].map((c) => c.completions.create(body)));
    const values = ({ choices }: OpenAI.Completion) => choices[0]!.logprobs!.token_logprobs!.slice(1) as number[];
    expect(values(given!).length).toBeGreaterThan(10);
    for (const [i, value] of values(given!).entries()) expect(value).toBeCloseTo(values(expected!)[i]!, 4);
    expect(given!.choices[0]!.logprobs!.tokens).toEqual(expected!.choices[0]!.logprobs!.tokens);
  });

  it("holds to a JSON schema", async () => {
    const schema = { type: "object", properties: { age: { type: "integer", maximum: 99 } }, required: ["age"] };
    const answer = await openai.chat.completions.create({
      model,
      messages: [{ role: "user", content: "How old is the Queen?" }],
      max_tokens: 60,
      response_format: {
        type: "json_schema",
        json_schema: { name: "age", schema: { ...schema, additionalProperties: false } },
      },
    });
    expect(JSON.parse(answer.choices[0]!.message.content!)).toEqual({ age: expect.any(Number) });
  });

  it("finds prompts that begin alike in the cache, with the same answer", async () => {
    const text = `${prompts.join(" ").repeat(4)} And so on`;
    const ask = () => openai.completions.create({ ...greedy, prompt: text, max_tokens: 12 });
    const before = await cachedTokens();
    const first = await ask();
    const second = await ask();
    expect(second.choices[0]!.text).toBe(first.choices[0]!.text);
    // Whole blocks of 128 tokens.
    const hits = (await cachedTokens()) - before;
    expect(hits).toBeGreaterThanOrEqual(128);
    expect(hits % 128).toBe(0);
  });

  it("lets a client go, and serves on", async () => {
    const stream = await openai.completions.create({ ...greedy, prompt, max_tokens: 900, stream: true });
    for await (const _ of stream) break;
    stream.controller.abort();
    await expect.poll(async () => (await stats()).running).toBe(0);
    expect((await stats()).blocks).toMatchObject({ owned: 0 });
    expect((await openai.completions.create({ ...greedy, prompt, max_tokens: 2 })).usage!.completion_tokens).toBe(2);
  });

  it("says how it attends, and no bytes that nobody has measured", async () => {
    expect(await json(asIs, "/health")).toMatchObject({ status: "ok", model, attention: "onnx" });
    const { attention, traffic, speculation, generated_tokens: generated } = await stats();
    expect(attention).toEqual({ mode: "onnx", r: 0, k: 0, k_share: 0, min_context: 0 });
    expect(new Set(Object.values(traffic))).toEqual(new Set([0]));
    expect(speculation.drafts).toBe(0);
    expect(generated).toBeGreaterThan(0);
    const samples = parseExposition(await (await fetch(`${asIs.url}/metrics`)).text());
    expect(sampleValue(samples, "sparq:attention_info", { model_name: model, attention: "onnx" })).toBe(1);
    expect(await json(kernels, "/health")).toMatchObject({ attention: "dense" });
  });

  it("refuses a request that wants SparQ, by its field", async () => {
    const ask = (sparq: object) => openai.completions.create({ ...greedy, prompt, ...{ sparq } });
    await expect(ask({ mode: "sparq", r: 4 })).rejects.toMatchObject({ status: 400, param: "sparq.mode" });
    await expect(ask({ k: 64 })).rejects.toThrow("sparq.k: this server runs its model as it is, dense");
    expect((await ask({ mode: "dense" })).choices).toHaveLength(1);
    expect((await ask({ k: null })).choices).toHaveLength(1);
  });

  async function stats(): Promise<z.output<typeof statsSchema>> {
    return statsSchema.parse(await json(asIs, "/v1/sparq/stats"));
  }

  async function cachedTokens(): Promise<number> {
    return (await stats()).cached_prompt_tokens;
  }
});

describe("a cache that is too small for all that runs", () => {
  it("makes requests yield and take up again, with the answers that they have alone", async () => {
    // Four blocks of 128 positions, for four requests of about 170 each.
    const tight = await start(model, { attention: "onnx", kvCacheMb: 3 });
    try {
      const { engine } = await tight.ready;
      expect(engine.stats().blocks.total).toBeLessThan(8);
      const texts = prompts.map((text) => `${text} `.repeat(3));
      const body = { ...greedy, max_tokens: 150 };
      const alone: string[] = [];
      for (const text of texts)
        alone.push((await openai.completions.create({ ...body, prompt: text })).choices[0]!.text);
      const together = await clientOf(tight).completions.create({ ...body, prompt: texts });
      expect(together.choices.map(({ text }) => text)).toEqual(alone);
      expect(engine.stats().preemptions).toBeGreaterThan(0);
    } finally {
      await tight.close();
    }
  });
});

describe("a model that the import refuses", () => {
  const capped = () =>
    editedExport(join(builtinFolder, model), (graph) => {
      const softmax = nthNode(graph, "Softmax", 1);
      interpose(
        graph,
        softmax,
        softmax.input[0]!,
        "capped",
        makeNode("Tanh", [softmax.input[0]!], ["capped"], {}, { name: "softcap" }),
      );
    });

  it("is served as it is, after a refusal that says how", async () => {
    const folder = capped();
    await expect(loadModel(folder, { cacheDir: temporaryFolder() })).rejects.toThrow(
      /"softcap" \(Tanh\).*; serve it dense with --attention=onnx$/s,
    );
    const server = await start(folder);
    try {
      expect((await server.ready).backend).toBe("onnx");
      const given = await clientOf(server).completions.create({ ...greedy, model, prompt });
      expect(given.usage!.completion_tokens).toBe(40);
      const other = await openai.completions.create({ ...greedy, prompt });
      expect(given.choices[0]!.text).not.toBe(other.choices[0]!.text);
    } finally {
      await server.close();
    }
  });

  it("is served though its architecture is another, if config.json says how long a text can be", async () => {
    const folder = join(temporaryFolder(), "gemma-2");
    cpSync(join(builtinFolder, model), folder, { recursive: true });
    const config = { model_type: "gemma2", n_positions: 512, attn_logit_softcapping: 50, eos_token_id: [0, 1] };
    writeFileSync(join(folder, "config.json"), JSON.stringify(config));
    rmSync(join(folder, "generation_config.json"), { force: true });
    await expect(loadModel(folder, { cacheDir: temporaryFolder() })).rejects.toThrow(
      /model_type is "gemma2".*; serve it dense with --attention=onnx$/,
    );
    const server = await start(folder);
    try {
      const { contextLength } = await server.ready;
      expect(contextLength).toBe(512);
      const given = await clientOf(server).completions.create({ ...greedy, model: "gemma-2", prompt });
      const same = await openai.completions.create({ ...greedy, prompt });
      expect(given.choices[0]!.text).toBe(same.choices[0]!.text);
    } finally {
      await server.close();
    }
  });
});
