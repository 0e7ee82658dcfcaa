import { Ajv2020 } from "ajv/dist/2020.js";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseServerOptions } from "../../server/config.ts";
import { loadServing } from "../../server/load-serving.ts";
import { type StartedServer, startServer } from "../../server/start.ts";
import { silentLog } from "../support/serving.ts";
import { locateSmolLm2 } from "../support/smollm2.ts";

const located = locateSmolLm2();
const reason = "missing" in located ? ` (skipped: ${located.missing})` : "";

const parameters = {
  weather: {
    type: "object",
    properties: { city: { type: "string" }, unit: { enum: ["celsius", "fahrenheit"] } },
    required: ["city", "unit"],
    additionalProperties: false,
  },
  add: {
    type: "object",
    properties: { a: { type: "integer" }, b: { type: "integer" } },
    required: ["a", "b"],
    additionalProperties: false,
  },
};
const tools: OpenAI.ChatCompletionTool[] = [
  {
    type: "function",
    function: { name: "weather", description: "The weather in a city", parameters: parameters.weather },
  },
  { type: "function", function: { name: "add", description: "Adds two integers", parameters: parameters.add } },
];

/** The arguments of a call, which must satisfy the schema of its function. */
function checked({ name, arguments: text }: { name: string; arguments: string }): unknown {
  const given: unknown = JSON.parse(text);
  const validate = new Ajv2020({ strict: false }).compile(parameters[name as keyof typeof parameters]);
  expect([name, given, validate(given)]).toEqual([name, given, true]);
  return given;
}

describe.skipIf("missing" in located)(`tools of SmolLM2-135M-Instruct, whose template knows none${reason}`, () => {
  let server: StartedServer;
  let openai: OpenAI;
  let model: string;
  beforeAll(async () => {
    if ("missing" in located) return;
    const small = { threads: 2, kvCacheMb: 256, maxContext: 2048 };
    const options = parseServerOptions({ model: located.path, port: 0, graceSeconds: 0, ...small });
    server = await startServer(options, { load: loadServing, log: silentLog });
    await server.ready;
    openai = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
    model = (await openai.models.list()).data[0]!.id;
  });
  afterAll(() => server?.close());

  const ask = (content: string) => {
    return { model, tools, messages: [{ role: "user" as const, content }], temperature: 0, max_tokens: 200 };
  };
  const named = (name: string) => ({ type: "function" as const, function: { name } });

  it("cannot be left to the model: a 400 that says what can be had", async () => {
    await expect(openai.chat.completions.create(ask("What is the weather in Rome?"))).rejects.toMatchObject({
      status: 400,
      param: "tools",
      message: expect.stringContaining('a call can only be enforced, by tool_choice "required" or a named function'),
    });
  });

  it.each([
    ["What is the weather in Rome?", { tool_choice: "required" as const }],
    ["How much is 17 and 25?", { tool_choice: "required" as const, parallel_tool_calls: false }],
    ["How much is 17 and 25?", { tool_choice: named("add") }],
  ])("are called with arguments that satisfy their schema: %s %j", async (content, choice) => {
    const { choices } = await openai.chat.completions.create({ ...ask(content), ...choice });
    const [{ message, finish_reason }] = choices as [OpenAI.ChatCompletion.Choice];
    expect([finish_reason, message.content]).toEqual(["tool_calls", null]);
    for (const call of message.tool_calls!) if (call.type === "function") checked(call.function);
    expect(message.tool_calls!.length).toBeGreaterThan(0);
  });

  it("are called in a stream as they are whole, with what was asked for", async () => {
    const body = { ...ask("What is the weather in Paris, in celsius?"), tool_choice: named("weather") };
    const whole = await openai.chat.completions.create(body);
    const call = { name: "", arguments: "" };
    let reason: string | null = null;
    for await (const { choices } of await openai.chat.completions.create({ ...body, stream: true })) {
      for (const part of choices[0]?.delta.tool_calls ?? []) {
        call.name += part.function?.name ?? "";
        call.arguments += part.function?.arguments ?? "";
      }
      reason = choices[0]?.finish_reason ?? reason;
    }
    const [first, ...others] = whole.choices[0]!.message.tool_calls!;
    expect([first, others, reason]).toEqual([{ ...first, function: call }, [], "tool_calls"]);
    expect(checked(call)).toEqual({ city: "Paris", unit: "celsius" });
  });

  it("have their results as messages, and the model answers", async () => {
    const messages: OpenAI.ChatCompletionMessageParam[] = [
      { role: "user", content: "How much is 17 and 25?" },
      {
        role: "assistant",
        tool_calls: [{ id: "call_1", type: "function", function: { name: "add", arguments: '{"a": 17, "b": 25}' } }],
      },
      { role: "tool", tool_call_id: "call_1", content: "42" },
    ];
    const body = { ...ask(""), messages, tool_choice: "none" as const, max_tokens: 20 };
    const { choices } = await openai.chat.completions.create(body);
    expect(choices[0]!.message.content).toMatch(/\S/);
  });
});
