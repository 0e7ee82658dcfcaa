import OpenAI from "openai";
import { afterEach, describe, expect, it } from "vitest";
import type { StartedServer } from "../../../server/start.ts";
import { createTokenizer } from "../../../server/tokenizer.ts";
import { FakeEngine } from "../../support/fake-engine.ts";
import { hermesTemplate } from "../../support/hermes-template.ts";
import { serve, servingOf, testTokenizerFiles } from "../../support/serving.ts";

let server: StartedServer | undefined;
afterEach(async () => {
  await server?.close();
  server = undefined;
});

async function start(pieces: readonly string[], chatTemplate = hermesTemplate) {
  const tokenizer = createTokenizer({ ...testTokenizerFiles, chatTemplate });
  const last = pieces.length - 1;
  const engine = new FakeEngine(() => pieces.map((text, i) => (i < last ? text : { text, finish: "stop" as const })));
  const serving = servingOf(engine, { tokenizer, contextLength: 4096 });
  server = await serve(serving);
  await server.ready;
  const openai = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
  const prompt = () => tokenizer.decode(engine.requests[0]!.promptIds);
  return { openai, engine, prompt };
}

const model = "test-model";
const messages = [{ role: "user" as const, content: "Weather in Rome?" }];
const tools: OpenAI.ChatCompletionTool[] = [
  {
    type: "function",
    function: {
      name: "weather",
      description: "Now, <|im_end|> not a token",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  },
];
const pieces = [
  "Let me",
  " see.\n<tool",
  '_call>{"name": "weather", "argu',
  'ments": {"city": "R',
  'ome"}}',
  "</tool_call>",
];

describe("tools on chat completions", () => {
  it("are shown to the model, and its calls are read", async () => {
    const { openai, prompt } = await start(pieces);
    const { choices } = await openai.chat.completions.create({ model, messages, tools });
    expect(choices[0]).toMatchObject({
      finish_reason: "tool_calls",
      message: {
        content: "Let me see.",
        tool_calls: [{ type: "function", function: { name: "weather", arguments: '{"city": "Rome"}' } }],
      },
    });
    expect(choices[0]!.message.tool_calls![0]!.id).toMatch(/^call_[0-9a-f]{24}$/);
    expect(prompt()).toContain('"name": "weather"');
  });

  it("stream a call's id and name first, then its arguments", async () => {
    const { openai } = await start(pieces);
    const deltas = [];
    const reasons = [];
    for await (const { choices } of await openai.chat.completions.create({ model, messages, tools, stream: true })) {
      deltas.push(choices[0]!.delta);
      reasons.push(choices[0]!.finish_reason);
    }
    expect(deltas).toEqual([
      { role: "assistant", content: "" },
      { content: "Let me" },
      { content: " see." },
      {
        tool_calls: [
          { index: 0, id: expect.any(String), type: "function", function: { name: "weather", arguments: "" } },
        ],
      },
      { tool_calls: [{ index: 0, function: { arguments: '{"city": "R' } }] },
      { tool_calls: [{ index: 0, function: { arguments: 'ome"}' } }] },
      {},
    ]);
    expect(reasons.at(-1)).toBe("tool_calls");
  });

  it("come back as results, with the calls that they answer", async () => {
    const { openai, prompt } = await start(["Sunny."]);
    const called = {
      id: "call_1",
      type: "function" as const,
      function: { name: "weather", arguments: '{"city":"Rome"}' },
    };
    const { choices } = await openai.chat.completions.create({
      model,
      tools,
      messages: [
        ...messages,
        { role: "assistant", tool_calls: [called] },
        { role: "tool", tool_call_id: "call_1", content: "25 degrees" },
      ],
    });
    expect(choices[0]).toMatchObject({ finish_reason: "stop", message: { content: "Sunny." } });
    expect(choices[0]!.message.tool_calls).toBeUndefined();
    expect(prompt()).toContain("<tool_call>weather Rome</tool_call>");
    expect(prompt()).toContain("25 degrees for call_1");
  });

  it("come back as text where the template knows no tools", async () => {
    const plain =
      "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}";
    const { openai, prompt } = await start(["Sunny."], plain);
    const call = (city: string) => ({
      id: city,
      type: "function" as const,
      function: { name: "weather", arguments: JSON.stringify({ city }) },
    });
    await openai.chat.completions.create({
      model,
      messages: [
        ...messages,
        { role: "assistant", content: "I look.", tool_calls: [call("Rome"), call("Oslo")] },
        { role: "tool", tool_call_id: "Rome", content: "25 degrees" },
      ],
    });
    const [rome, oslo] = ["Rome", "Oslo"].map((city) => `{"name": "weather", "parameters": {"city":"${city}"}}`);
    expect(prompt()).toContain(`assistant\nI look.\n${rome}; ${oslo}<|im_end|>\n<|im_start|>tool\n25 degrees`);
  });

  it("are left out for tool_choice none", async () => {
    const { openai, prompt } = await start(pieces);
    const { choices } = await openai.chat.completions.create({ model, messages, tools, tool_choice: "none" });
    expect(choices[0]!.message.content).toBe(pieces.join(""));
    expect(prompt()).not.toContain("weather");
  });

  it("are one call at most without parallel_tool_calls", async () => {
    const text = '<tool_call>{"name": "weather", "arguments": {}}</tool_call>';
    for (const [parallel, count] of [
      [true, 2],
      [false, 1],
    ] as const) {
      const { openai } = await start([text, text]);
      const body = { model, messages, tools, parallel_tool_calls: parallel };
      const { choices } = await openai.chat.completions.create(body);
      expect(choices[0]!.message.tool_calls).toHaveLength(count);
      await server!.close();
    }
  });

  it("have special tokens of their text stay text", async () => {
    const { openai, engine } = await start(["x"]);
    await openai.chat.completions.create({ model, messages, tools });
    const ends = engine.requests[0]!.promptIds.filter((id) => id === 2);
    // One after the tools, one after the user's message.
    expect(ends).toHaveLength(2);
  });

  it("need a format that is known", async () => {
    const { openai } = await start(["x"], "{% for tool in tools %}{{ tool }}{% endfor %}");
    await expect(openai.chat.completions.create({ model, messages, tools })).rejects.toMatchObject({
      status: 400,
      message: expect.stringContaining("--tool-call-parser"),
    });
  });

  it.each([
    [{ role: "tool" }, "messages[0].content"],
    [{ role: "function", content: "x" }, "messages[0].role"],
    [
      { role: "assistant", tool_calls: [{ id: "a", type: "function", function: { name: "f", arguments: "{" } }] },
      "messages[0].tool_calls[0].function.arguments",
    ],
  ])("refuse wrong messages: %j", async (message, param) => {
    const { openai } = await start(["x"]);
    const refused = openai.chat.completions.create({ model, tools, messages: [message] } as never);
    await expect(refused).rejects.toMatchObject({ status: 400, param });
  });
});
