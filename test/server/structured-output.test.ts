import { Ajv2020 } from "ajv/dist/2020.js";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { parseServerOptions } from "../../server/config.ts";
import { loadServing } from "../../server/load-serving.ts";
import { type StartedServer, startServer } from "../../server/start.ts";
import { silentLog } from "../support/serving.ts";

let server: StartedServer;
let openai: OpenAI;
beforeAll(async () => {
  const small = { threads: 1, kvCacheMb: 64, maxContext: 1024 };
  const options = parseServerOptions({ model: "tiny-llama", port: 0, graceSeconds: 0, ...small });
  server = await startServer(options, { load: loadServing, log: silentLog });
  await server.ready;
  openai = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
}, 120_000);
afterAll(() => server.close());

const model = "tiny-llama";
const messages = [{ role: "user" as const, content: "Who said what to the Knave?" }];
const schema = {
  type: "object",
  properties: {
    speaker: { enum: ["Queen", "King", "Alice"] },
    words: { type: "array", items: { type: "string", maxLength: 16 }, minItems: 1, maxItems: 3 },
    loud: { type: "boolean" },
    times: { type: "integer", minimum: 1, maximum: 20 },
  },
  required: ["speaker", "words", "times"],
  additionalProperties: false,
};
const jsonSchema = (given: Record<string, unknown>) => {
  return { type: "json_schema" as const, json_schema: { name: "saying", strict: true, schema: given } };
};
const tools: OpenAI.ChatCompletionTool[] = [
  { type: "function", function: { name: "say", description: "Says it", parameters: { ...schema } } },
  { type: "function", function: { name: "leave", parameters: { type: "object", properties: {} } } },
];

describe("response_format with a tiny model", () => {
  it("gives JSON that satisfies the schema at temperature 1, whatever the seed", async () => {
    const validate = new Ajv2020({ strict: false }).compile(schema);
    const body = { model, messages, response_format: jsonSchema(schema), max_tokens: 400, temperature: 1, n: 8 };
    for (const seed of [1, 100, 200]) {
      const { choices } = await openai.chat.completions.create({ ...body, seed });
      for (const { message, finish_reason } of choices) {
        expect([finish_reason, message.content, validate(JSON.parse(message.content!))]).toEqual([
          "stop",
          message.content,
          true,
        ]);
      }
    }
  });

  it("streams the same as it gives whole, with the samplers and penalties of the request", async () => {
    const body = {
      model,
      messages,
      response_format: jsonSchema(schema),
      max_tokens: 300,
      temperature: 1.3,
      top_p: 0.9,
      frequency_penalty: 0.5,
      seed: 5,
      logprobs: true,
      top_logprobs: 2,
    };
    const whole = await openai.chat.completions.create(body);
    let text = "";
    for await (const { choices } of await openai.chat.completions.create({ ...body, stream: true })) {
      text += choices[0]?.delta.content ?? "";
    }
    expect(text).toBe(whole.choices[0]!.message.content);
    expect(JSON.parse(text)).toBeTypeOf("object");
    expect(whole.choices[0]!.logprobs!.content!.length).toBe(whole.usage!.completion_tokens);
  });

  it("parses with the client's zod helper", async () => {
    const Saying = z.object({ speaker: z.enum(["Queen", "King"]), loud: z.boolean(), times: z.int().min(0).max(9) });
    const answer = await openai.chat.completions.parse({
      model,
      messages,
      response_format: zodResponseFormat(Saying, "saying"),
      max_tokens: 500,
      seed: 3,
    });
    expect(Saying.parse(answer.choices[0]!.message.parsed)).toEqual(answer.choices[0]!.message.parsed);
  });

  it("gives objects for json_object, unless max_tokens cuts them", async () => {
    const body = { model, messages, response_format: { type: "json_object" as const }, n: 6, seed: 2 };
    const cut = await openai.chat.completions.create({ ...body, max_tokens: 3 });
    for (const { message, finish_reason } of cut.choices) {
      expect(message.content).toMatch(/^\{/);
      if (finish_reason === "stop") expect(JSON.parse(message.content!)).toBeTypeOf("object");
      else expect(finish_reason).toBe("length");
    }
  });

  it("works on completions, with ignore_eos and min_tokens, which cannot go past the end", async () => {
    const extensions = { ignore_eos: true, min_tokens: 40 };
    const answer = await openai.completions.create({
      model,
      prompt: "The answer:",
      max_tokens: 60,
      ...{ response_format: jsonSchema({ enum: ["yes", "no"] }), ...extensions },
    });
    expect(['"yes"', '"no"']).toContain(answer.choices[0]!.text);
    expect(answer.choices[0]!.finish_reason).toBe("stop");
  });

  it("is the same alone and in a crowd of others, with and without grammars", async () => {
    const body = { model, messages, response_format: jsonSchema(schema), max_tokens: 200, seed: 9 };
    const alone = await openai.chat.completions.create(body);
    const [beside] = await Promise.all([
      openai.chat.completions.create(body),
      openai.chat.completions.create({ ...body, response_format: { type: "json_object" }, n: 3, max_tokens: 50 }),
      openai.chat.completions.create({ model, messages, n: 3, max_tokens: 50 }),
      openai.chat.completions.create({ ...body, response_format: jsonSchema({ type: "array", maxItems: 3 }) }),
    ]);
    expect(beside.choices[0]!.message).toEqual(alone.choices[0]!.message);
  });

  it("refuses what it cannot enforce, and says where", async () => {
    const refused = (response_format: object) =>
      openai.chat.completions.create({ model, messages, ...{ response_format } } as never);
    await expect(refused(jsonSchema({ type: "object", properties: { a: { pattern: "a\\b" } } }))).rejects.toMatchObject(
      {
        status: 400,
        param: "response_format.json_schema.schema.properties.a.pattern",
        message: expect.stringContaining("not supported"),
      },
    );
    await expect(refused({ type: "xml" })).rejects.toMatchObject({ status: 400, param: "response_format.type" });
    await expect(refused(jsonSchema([] as never))).rejects.toMatchObject({ status: 400 });
  });
});

describe("tools with a tiny model whose template knows none", () => {
  it("are called where the request says that they must be", async () => {
    const validate = new Ajv2020({ strict: false }).compile(schema);
    const body = { model, messages, tools, max_tokens: 500, temperature: 1 };
    for (const seed of [1, 2, 3, 4]) {
      const { choices } = await openai.chat.completions.create({
        ...body,
        seed,
        tool_choice: { type: "function", function: { name: "say" } },
      });
      const [choice] = choices;
      expect([choice!.finish_reason, choice!.message.content]).toEqual(["tool_calls", null]);
      const [call, ...more] = choice!.message.tool_calls!;
      if (call?.type !== "function") throw new Error("no function");
      expect([call.function.name, more, validate(JSON.parse(call.function.arguments))]).toEqual(["say", [], true]);
    }
    const required = { ...body, tool_choice: "required" as const, parallel_tool_calls: false, n: 6, seed: 7 };
    const { choices } = await openai.chat.completions.create(required);
    for (const { message } of choices) {
      expect(message.tool_calls).toHaveLength(1);
      expect(["say", "leave"]).toContain((message.tool_calls![0] as { function: { name: string } }).function.name);
    }
  });

  it("are streamed as they are given whole", async () => {
    const body = { model, messages, tools, tool_choice: "required" as const, max_tokens: 200, seed: 11 };
    const whole = await openai.chat.completions.create(body);
    const calls: { id: string; name: string; arguments: string }[] = [];
    let reason: string | null = null;
    for await (const { choices } of await openai.chat.completions.create({ ...body, stream: true })) {
      for (const part of choices[0]!.delta.tool_calls ?? []) {
        if (part.id === undefined) calls[part.index]!.arguments += part.function!.arguments;
        else {
          expect([part.index, part.type, part.function!.arguments]).toEqual([calls.length, "function", ""]);
          calls.push({ id: part.id, name: part.function!.name!, arguments: "" });
        }
      }
      reason = choices[0]!.finish_reason ?? reason;
    }
    const expected = (whole.choices[0]!.message.tool_calls as { function: { name: string; arguments: string } }[]).map(
      (call) => call.function,
    );
    expect(calls.map(({ name, arguments: text }) => ({ name, arguments: text }))).toEqual(expected);
    expect(new Set(calls.map(({ id }) => id)).size).toBe(calls.length);
    expect(reason).toBe(whole.choices[0]!.finish_reason);
  });

  it("are refused otherwise, and wrong ones by name", async () => {
    const refused = (changes: object) => openai.chat.completions.create({ model, messages, ...changes } as never);
    await expect(refused({ tools })).rejects.toMatchObject({
      status: 400,
      param: "tools",
      message: expect.stringContaining("knows no tools"),
    });
    await expect(refused({ tool_choice: "required" })).rejects.toMatchObject({ status: 400, param: "tool_choice" });
    await expect(
      refused({ tools, tool_choice: { type: "function", function: { name: "fly" } } }),
    ).rejects.toMatchObject({
      status: 400,
      param: "tool_choice.function.name",
      message: expect.stringContaining("say, leave"),
    });
    const bad = {
      type: "function",
      function: { name: "f", parameters: { type: "object", properties: { a: { type: "x" } } } },
    };
    await expect(refused({ tools: [bad], tool_choice: "required" })).rejects.toMatchObject({
      status: 400,
      param: "tools[0].function.parameters.properties.a.type",
    });
    const none = await openai.chat.completions.create({ model, messages, tools, tool_choice: "none", max_tokens: 2 });
    expect(none.choices[0]!.message.tool_calls).toBeUndefined();
  });
});
