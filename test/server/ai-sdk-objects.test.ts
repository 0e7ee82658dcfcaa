import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, NoObjectGeneratedError, Output, streamObject, streamText } from "ai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { parseServerOptions } from "../../server/config.ts";
import { loadServing } from "../../server/load-serving.ts";
import { type StartedServer, startServer } from "../../server/start.ts";
import { silentLog } from "../support/serving.ts";

let server: StartedServer;
beforeAll(async () => {
  const small = { threads: 1, kvCacheMb: 64, maxContext: 1024 };
  const options = parseServerOptions({ model: "tiny-llama", port: 0, graceSeconds: 0, ...small });
  server = await startServer(options, { load: loadServing, log: silentLog });
  await server.ready;
}, 120_000);
afterAll(() => server.close());

/** With schemas enforced by the server, unless `structured` is false: then the SDK asks for any object. */
const model = (structured = true) =>
  createOpenAICompatible({
    name: "sparq",
    baseURL: `${server.url}/v1`,
    apiKey: "none",
    includeUsage: true,
    supportsStructuredOutputs: structured,
  }).chatModel("tiny-llama");

const Saying = z.object({
  speaker: z.enum(["Queen", "King", "Alice"]),
  words: z.array(z.string().max(16)).min(1).max(3),
  loud: z.boolean().optional(),
  times: z.int().min(1).max(20),
  answered: z.object({ by: z.string().max(8) }).nullable(),
});
const settings = { maxRetries: 0, temperature: 1, maxOutputTokens: 400, prompt: "Who said what to the Knave?" };

describe("objects of the Vercel AI SDK, with a tiny model that knows nothing of them", () => {
  it("are generated, whatever the seed", async () => {
    for (const seed of [1, 2, 3]) {
      const { object, finishReason, usage, warnings } = await generateObject({
        model: model(),
        schema: Saying,
        ...settings,
        seed,
      });
      expect(Saying.parse(object)).toEqual(object);
      expect([finishReason, warnings]).toEqual(["stop", []]);
      expect(usage.outputTokens).toBeGreaterThan(10);
    }
  });

  it("are streamed, each part a beginning of the whole", async () => {
    const { partialObjectStream, object, finishReason } = streamObject({
      model: model(),
      schema: Saying,
      ...settings,
      seed: 4,
    });
    const parts: Partial<z.infer<typeof Saying>>[] = [];
    for await (const part of partialObjectStream) parts.push(part as never);
    const whole = await object;
    expect(Saying.parse(whole)).toEqual(whole);
    expect(parts.length).toBeGreaterThan(3);
    expect(parts.at(-1)).toEqual(whole);
    const speakers = parts.flatMap(({ speaker }) => speaker ?? []);
    for (const speaker of speakers) expect(whole.speaker.startsWith(speaker)).toBe(true);
    expect(await finishReason).toBe("stop");
  });

  it("are arrays and choices too", async () => {
    const list = streamObject({
      model: model(),
      output: "array",
      schema: z.object({ name: z.enum(["Dodo", "Duck"]), age: z.int().min(0).max(99) }),
      ...settings,
      seed: 5,
      maxOutputTokens: 900,
    });
    const elements: unknown[] = [];
    for await (const element of list.elementStream) elements.push(element);
    expect(elements).toEqual(await list.object);
    const options = ["yes", "no", "perhaps"];
    const choice = await generateObject({ model: model(), output: "enum", enum: options, ...settings, seed: 6 });
    expect(options).toContain(choice.object);
  });

  it("are a text's output", async () => {
    const output = Output.object({ schema: Saying });
    const generated = await generateText({ model: model(), output, ...settings, seed: 7 });
    expect(Saying.parse(generated.output)).toEqual(generated.output);
    const streamed = streamText({ model: model(), output, ...settings, seed: 7 });
    let last: unknown;
    for await (const part of streamed.partialOutputStream) last = part;
    expect(last).toEqual(generated.output);
  });

  it("are any objects where the SDK does not send the schema, which it then checks itself", async () => {
    const request = { model: model(false), schema: Saying, ...settings, seed: 1 };
    const failure = await generateObject(request).catch((error) => error);
    expect(NoObjectGeneratedError.isInstance(failure), String(failure)).toBe(true);
    expect(failure.text).toMatch(/^\{[\s"}]/);
  });

  it("say that they were cut", async () => {
    const failure = await generateObject({ model: model(), schema: Saying, ...settings, maxOutputTokens: 4 }).catch(
      (error) => error,
    );
    expect(NoObjectGeneratedError.isInstance(failure), String(failure)).toBe(true);
    expect(failure).toMatchObject({ finishReason: "length", text: expect.stringMatching(/^\{/) });
  });

  it("are refused with the server's own words", async () => {
    const schema = z.object({ a: z.number().multipleOf(0.5) });
    await expect(generateObject({ model: model(), schema, ...settings })).rejects.toMatchObject({
      statusCode: 400,
      message: expect.stringContaining("response_format.json_schema.schema.properties.a.multipleOf"),
    });
  });
});

describe("tools of the Vercel AI SDK, enforced on a model that knows none", () => {
  it("are called where a call is required, whole and streamed", async () => {
    const tools = { say: { description: "Says it", inputSchema: Saying } };
    for (const toolChoice of ["required", { type: "tool", toolName: "say" }] as const) {
      const providerOptions = { sparq: { parallel_tool_calls: false } };
      const request = { model: model(), tools, toolChoice, providerOptions, ...settings, seed: 8 };
      const whole = await generateText(request);
      expect(whole.finishReason).toBe("tool-calls");
      for (const call of whole.toolCalls) expect(Saying.parse(call.input)).toEqual(call.input);
      const streamed = streamText(request);
      const calls = await streamed.toolCalls;
      const inputs = (list: readonly { toolName: string; input: unknown }[]) =>
        list.map(({ toolName, input }) => ({ toolName, input }));
      expect(inputs(calls)).toEqual(inputs(whole.toolCalls));
      expect(calls).toHaveLength(1);
    }
  });
});
