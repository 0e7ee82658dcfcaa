import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { afterEach, describe, expect, it } from "vitest";
import { z } from "zod";
import type { StartedServer } from "../../server/start.ts";
import { createTokenizer } from "../../server/tokenizer.ts";
import { FakeEngine } from "../support/fake-engine.ts";
import { hermesTemplate } from "../support/hermes-template.ts";
import { serve, servingOf, testTokenizerFiles } from "../support/serving.ts";

let server: StartedServer | undefined;
afterEach(async () => {
  await server?.close();
  server = undefined;
});

const calls = [
  "I look.\n<tool",
  '_call>{"name": "weather", "arguments": {"ci',
  'ty": "Rome"}}</tool_call>\n<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}',
  "</tool_call>",
];
const answer = ["25 in", " Rome, 3", " in Oslo."];

/** Calls the tool twice, and answers once results are in the prompt. */
async function start(first: readonly string[] = calls) {
  const tokenizer = createTokenizer({ ...testTokenizerFiles, chatTemplate: hermesTemplate });
  const engine = new FakeEngine(({ promptIds }) => {
    const pieces = tokenizer.decode(promptIds).includes("degrees") ? answer : first;
    return pieces.map((text, i) => (i < pieces.length - 1 ? text : { text, finish: "stop" as const }));
  });
  server = await serve(servingOf(engine, { tokenizer, contextLength: 4096 }));
  await server.ready;
  const asked: string[] = [];
  const weather = tool({
    description: "The weather in a city",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => {
      asked.push(city);
      return { degrees: city === "Rome" ? 25 : 3 };
    },
  });
  const provider = createOpenAICompatible({ name: "sparq", baseURL: `${server.url}/v1`, apiKey: "none" });
  const request = {
    model: provider.chatModel("test-model"),
    tools: { weather },
    stopWhen: stepCountIs(3),
    prompt: "How warm is it in Rome and in Oslo?",
    maxRetries: 0,
  };
  return { engine, asked, request, prompt: (i: number) => tokenizer.decode(engine.requests[i]!.promptIds) };
}

/** A call of the template, and its result, with the id that binds them. */
function expectResults(prompt: string, steps: readonly { toolCalls: readonly { toolCallId: string }[] }[]): void {
  const ids = steps[0]!.toolCalls.map(({ toolCallId }) => toolCallId);
  expect(new Set(ids).size).toBe(2);
  expect(prompt).toContain("I look.<tool_call>weather Rome</tool_call><tool_call>weather Oslo</tool_call>");
  expect(prompt).toContain(`{"degrees":25} for ${ids[0]}`);
  expect(prompt).toContain(`{"degrees":3} for ${ids[1]}`);
}

describe("tools of the Vercel AI SDK", () => {
  it("are called, their results sent back, and the answer given", async () => {
    const { request, asked, engine, prompt } = await start();
    const { text, steps, finishReason } = await generateText(request);
    expect({ text, finishReason, asked }).toEqual({
      text: "25 in Rome, 3 in Oslo.",
      finishReason: "stop",
      asked: ["Rome", "Oslo"],
    });
    expect(steps.map((step) => step.finishReason)).toEqual(["tool-calls", "stop"]);
    expect(steps[0]!.text).toBe("I look.");
    expect(engine.requests).toHaveLength(2);
    expect(prompt(0)).toContain('"description": "The weather in a city"');
    expectResults(prompt(1), steps);
  });

  it("are streamed: text, arguments as they come, results, the answer", async () => {
    const { request, asked, prompt } = await start();
    const result = streamText(request);
    const parts: string[] = [];
    let input = "";
    for await (const part of result.fullStream) {
      if (part.type === "tool-input-delta") input += part.delta;
      if (part.type === "error") throw part.error;
      if (part.type === "tool-call" || part.type === "tool-result") {
        parts.push(`${part.type} ${(part.input as { city: string }).city}`);
      }
      if (part.type === "finish-step") parts.push(part.finishReason);
    }
    // A result may come before the next call or after it.
    const [called, reasons] = [parts.slice(0, 4), parts.slice(4)];
    expect(called.toSorted()).toEqual(["tool-call Oslo", "tool-call Rome", "tool-result Oslo", "tool-result Rome"]);
    expect(reasons).toEqual(["tool-calls", "stop"]);
    expect(input).toBe('{"city": "Rome"}{"city": "Oslo"}');
    expect(await result.text).toBe("25 in Rome, 3 in Oslo.");
    expect(asked).toEqual(["Rome", "Oslo"]);
    expectResults(prompt(1), await result.steps);
  });

  it("are not seen by the model for toolChoice none", async () => {
    const { request, asked, prompt } = await start(["No idea."]);
    const { text, toolCalls } = await generateText({ ...request, toolChoice: "none" });
    expect({ text, toolCalls, asked }).toEqual({ text: "No idea.", toolCalls: [], asked: [] });
    expect(prompt(0)).not.toContain("The weather in a city");
  });

  it("go on from messages that an earlier conversation left", async () => {
    const { request, prompt } = await start();
    const first = await generateText(request);
    const { prompt: question, ...rest } = request;
    const messages = [
      { role: "user" as const, content: question },
      ...first.response.messages,
      { role: "user" as const, content: "And tomorrow?" },
    ];
    const { text } = await generateText({ ...rest, messages });
    expect(text).toBe("25 in Rome, 3 in Oslo.");
    expectResults(prompt(2), first.steps);
    expect(prompt(2)).toContain("And tomorrow?");
  });
});
