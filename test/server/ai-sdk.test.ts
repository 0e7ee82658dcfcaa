import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, generateText, streamText } from "ai";
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

const words: Script = () => ["Once", " upon", { text: " a time", finish: "stop" as const }].values();

async function start(script: Script = words, options: Readonly<Record<string, unknown>> = {}) {
  const engine = new FakeEngine(script);
  server = await serve(servingOf(engine), options);
  await server.ready;
  const provider = (apiKey = "none") =>
    createOpenAICompatible({ name: "sparq", baseURL: `${server!.url}/v1`, apiKey, includeUsage: true });
  return { engine, provider, sparq: provider() };
}

const settings = { maxRetries: 0, temperature: 0, maxOutputTokens: 9 };

describe("the Vercel AI SDK", () => {
  it("generates with a chat model: text, reason, usage, settings", async () => {
    const { sparq, engine } = await start();
    const { text, finishReason, usage } = await generateText({
      model: sparq.chatModel("test-model"),
      system: "Be brief.",
      prompt: "Hello",
      seed: 7,
      stopSequences: ["\n"],
      ...settings,
    });
    expect({ text, finishReason }).toEqual({ text: "Once upon a time", finishReason: "stop" });
    const promptIds = testTokenizer.applyChatTemplate(
      [
        { role: "system", content: "Be brief." },
        { role: "user", content: "Hello" },
      ],
      { addGenerationPrompt: true },
    );
    expect(engine.requests[0]).toMatchObject({
      promptIds,
      sampling: { maxTokens: 9, temperature: 0, seed: 7, stop: ["\n"] },
    });
    expect(usage).toMatchObject({ inputTokens: promptIds.length, outputTokens: 3, totalTokens: promptIds.length + 3 });
  });

  it("streams a chat", async () => {
    const { sparq } = await start();
    const result = streamText({ model: sparq.chatModel("test-model"), prompt: "Hello", ...settings });
    const pieces: string[] = [];
    for await (const piece of result.textStream) pieces.push(piece);
    expect(pieces).toEqual(["Once", " upon", " a time"]);
    expect(await result.finishReason).toBe("stop");
    expect(await result.usage).toMatchObject({ outputTokens: 3 });
  });

  it("generates and streams with a completion model", async () => {
    const { sparq } = await start(() => ["Once", " upon", " a", " time"].values());
    const model = sparq.completionModel("test-model");
    const { text, finishReason } = await generateText({ model, prompt: "Hello", ...settings, maxOutputTokens: 2 });
    expect({ text, finishReason }).toEqual({ text: "Once upon", finishReason: "length" });
    const pieces: string[] = [];
    for await (const piece of streamText({ model, prompt: "Hello", ...settings }).textStream) pieces.push(piece);
    expect(pieces.join("")).toBe("Once upon a time");
  });

  it("leaves a stream, and the engine stops", async () => {
    const { sparq, engine } = await start(async function* () {
      for (;;) {
        yield "x";
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    });
    const leave = new AbortController();
    const model = sparq.chatModel("test-model");
    const request = { model, prompt: "Hello", ...settings, maxOutputTokens: 100_000, abortSignal: leave.signal };
    let pieces = 0;
    for await (const part of streamText(request).fullStream) {
      if (part.type === "text-delta" && ++pieces === 3) leave.abort();
    }
    expect(pieces).toBeGreaterThanOrEqual(3);
    await expect.poll(() => engine.running).toBe(0);
  });

  it("gives up waiting for a whole answer, and the engine stops", async () => {
    const never = gate();
    const { sparq, engine } = await start(async function* () {
      await never.opened;
      yield "x";
    });
    const leave = new AbortController();
    const model = sparq.chatModel("test-model");
    const answer = generateText({ model, prompt: "Hello", ...settings, abortSignal: leave.signal });
    await expect.poll(() => engine.running).toBe(1);
    leave.abort();
    await expect(answer).rejects.toMatchObject({ name: "AbortError" });
    await expect.poll(() => engine.running).toBe(0);
  });

  it("maps errors: a refusal of the engine, a foreign model, a missing key, a full queue", async () => {
    const refusal = (code: "context_overflow" | "queue_full") => new EngineError(code, `no: ${code}`);
    const { provider, sparq } = await start(
      ({ promptIds }) => [refusal(promptIds.length > 40 ? "context_overflow" : "queue_full")],
      { apiKey: ["a-key-of-this-server"] },
    );
    const allowed = provider("a-key-of-this-server");
    const prompt = "Hello";
    for (const [request, expected] of [
      [
        { model: sparq.chatModel("test-model"), prompt },
        { statusCode: 401, isRetryable: false },
      ],
      [
        { model: allowed.chatModel("other"), prompt },
        { statusCode: 404, isRetryable: false },
      ],
      [
        { model: allowed.chatModel("test-model"), prompt },
        { statusCode: 429, isRetryable: true },
      ],
      [
        { model: allowed.chatModel("test-model"), prompt: "Hello ".repeat(30) },
        { statusCode: 400, isRetryable: false },
      ],
    ] as const) {
      const error = await generateText({ ...request, ...settings }).catch((thrown) => thrown);
      expect(APICallError.isInstance(error), String(error)).toBe(true);
      expect(error).toMatchObject(expected);
      // The server's own words, not the status's.
      expect(error.message).not.toBe("");
      expect(JSON.parse(error.responseBody).error.message).toBe(error.message);
    }
  });

  it("gets a failure in the middle of a stream as an error part", async () => {
    const { sparq } = await start(() => ["Once", new EngineError("step_failed", "secret detail")].values());
    const model = sparq.chatModel("test-model");
    const errors: unknown[] = [];
    let text = "";
    for await (const part of streamText({ model, prompt: "Hello", ...settings, onError: () => {} }).fullStream) {
      if (part.type === "error") errors.push(part.error);
      if (part.type === "text-delta") text += part.text;
    }
    expect(text).toBe("Once");
    expect(errors).toHaveLength(1);
    expect(JSON.stringify(errors)).not.toContain("secret");
  });
});
