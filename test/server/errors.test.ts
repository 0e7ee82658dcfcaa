import { request as httpRequest } from "node:http";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { EngineError, engineErrors } from "../../server/engine/errors.ts";
import type { Tokenizer } from "../../server/engine/types.ts";
import type { ErrorBody } from "../../server/errors.ts";
import type { PromptEncoder } from "../../server/prompts/encoder.ts";
import type { StartedServer } from "../../server/start.ts";
import { ChatTemplateError } from "../../server/tokenizer.ts";
import { FakeEngine } from "../support/fake-engine.ts";
import { serve, servingOf, testTokenizer } from "../support/serving.ts";

let server: StartedServer;
beforeAll(async () => {
  const engine = new FakeEngine(({ promptIds }) => {
    if (promptIds.includes(99_999)) return [new EngineError("token_out_of_range", "prompt token 0 is 99999")];
    if (promptIds.includes(77_777)) return [new EngineError("step_failed", "secret detail")];
    return ["fine"];
  });
  server = await serve(servingOf(engine), { maxBodyMb: 1 });
  await server.ready;
});
afterAll(() => server.close());

async function send(path: string, init: RequestInit) {
  const response = await fetch(server.url + path, init);
  return { status: response.status, headers: response.headers, body: (await response.json()) as ErrorBody };
}

function post(path: string, body: unknown) {
  return send(path, { method: "POST", body: typeof body === "string" ? body : JSON.stringify(body) });
}

/** The test tokenizer in parts, to exchange some. */
const tokenizerParts: Tokenizer = {
  vocabSize: testTokenizer.vocabSize,
  bosTokenId: testTokenizer.bosTokenId,
  eosTokenIds: testTokenizer.eosTokenIds,
  info: testTokenizer.info,
  encode: (text, options) => testTokenizer.encode(text, options),
  decode: (ids, options) => testTokenizer.decode(ids, options),
  specialToken: (text) => testTokenizer.specialToken(text),
  tokenBytes: (id) => testTokenizer.tokenBytes(id),
  applyChatTemplate: (messages, options) => testTokenizer.applyChatTemplate(messages, options),
};

const user = { role: "user", content: "Hi" };

/** Each fault is answered in one shape, and the next request works. */
async function expectFault(answer: Promise<Awaited<ReturnType<typeof send>>>, expected: object) {
  const { status, body } = await answer;
  expect({ status, ...body.error }).toMatchObject({ type: "invalid_request_error", ...expected });
  const after = await post("/v1/completions", { prompt: "still there?" });
  expect(after.status).toBe(200);
}

describe("completions", () => {
  it.each<[string, unknown, object]>([
    ["not JSON", "{prompt:", { code: "invalid_json", message: /not JSON/ }],
    ["empty", "", { code: "invalid_json", message: /empty/ }],
    ["no object", [1], { code: "invalid_value", param: null }],
    ["no prompt", {}, { param: "prompt", message: /^prompt: must be a string/ }],
    ["a null prompt", { prompt: null }, { param: "prompt" }],
    ["a mixed prompt", { prompt: [1, "a"] }, { param: "prompt" }],
    ["an empty prompt list", { prompt: [] }, { param: "prompt", message: /empty/ }],
    ["a negative id in a list of lists", { prompt: [[1], [2, -1]] }, { param: "prompt[1][1]" }],
    ["negative ids", { prompt: [3, -1] }, { param: "prompt[1]" }],
    ["a foreign id", { prompt: [99_999] }, { param: "prompt", message: /99999/ }],
    ["a wrong type", { prompt: "a", max_tokens: "3" }, { param: "max_tokens", message: /^max_tokens: / }],
    ["a wrong range", { prompt: "a", temperature: -1 }, { param: "temperature" }],
    ["a wrong nucleus", { prompt: "a", top_p: 1.5 }, { param: "top_p" }],
    ["a wrong share", { prompt: "a", min_p: 1.1 }, { param: "min_p" }],
    ["too much presence", { prompt: "a", presence_penalty: 2.1 }, { param: "presence_penalty" }],
    ["too little frequency", { prompt: "a", frequency_penalty: -2.1 }, { param: "frequency_penalty" }],
    ["no repetition", { prompt: "a", repetition_penalty: 0 }, { param: "repetition_penalty" }],
    ["too much bias", { prompt: "a", logit_bias: { "5": 101 } }, { param: "logit_bias.5" }],
    ["bias of a word", { prompt: "a", logit_bias: { the: 1 } }, { param: "logit_bias", message: /the is no token id/ }],
    ["bias of a foreign id", { prompt: "a", logit_bias: { "99999": 1 } }, { param: "logit_bias", message: /99999/ }],
    ["too many logprobs", { prompt: "a", logprobs: 21 }, { param: "logprobs" }],
    ["no choices", { prompt: "a", n: 0 }, { param: "n" }],
    ["too many sequences", { prompt: new Array(50).fill("a"), n: 100 }, { param: "n", message: /5000.*2048/ }],
    ["too much to stop at", { prompt: "a", stop: ["x".repeat(2 ** 17), "y".repeat(2 ** 17)] }, { param: "stop" }],
    [
      "more tokens at least than at most",
      { prompt: "a", max_tokens: 3, min_tokens: 4 },
      { param: "min_tokens", message: /4 is more than the 3/ },
    ],
    ["stop at a foreign id", { prompt: "a", stop_token_ids: [3, 99999] }, { param: "stop_token_ids[1]" }],
    ["stop at a negative id", { prompt: "a", stop_token_ids: [-1] }, { param: "stop_token_ids[0]" }],
    ["too many to choose from", { prompt: "a", best_of: 129 }, { param: "best_of" }],
    ["stop of numbers", { prompt: "a", stop: [1] }, { param: "stop" }],
    ["r over the head", { prompt: "a", sparq: { r: 64 } }, { param: "sparq.r", message: /64.*32/ }],
    ["local over k", { prompt: "a", sparq: { k: 8, local: 9 } }, { param: "sparq.local" }],
    ["another mode", { prompt: "a", sparq: { mode: "fast" } }, { param: "sparq.mode" }],
    [
      "three of a bucket",
      { prompt: "a", sparq: { top_k_buckets: 3 } },
      { param: "sparq.top_k_buckets", message: /0, 1, 2 or 4/ },
    ],
    ["sinks over k", { prompt: "a", sparq: { k: 8, sinks: 7 } }, { param: "sparq.sinks", message: /7 .*local 2.*8/ }],
    ["masses", { prompt: "a", sparq: { rank: "mass" } }, { param: "sparq.rank", message: /does not keep/ }],
    ["another rank", { prompt: "a", sparq: { rank: "best" } }, { param: "sparq.rank" }],
  ])("%s", async (_, body, { message, ...expected }: { message?: RegExp }) => {
    const answer = post("/v1/completions", body);
    await expectFault(answer, { status: 400, ...expected });
    expect((await answer).body.error.message).toMatch(message ?? /./);
  });

  it.each<[string, unknown]>([["suffix", "end"]])("%s is refused by name", async (field, value) => {
    const answer = post("/v1/completions", { prompt: "a", [field]: value });
    await expectFault(answer, { status: 400, code: "unsupported_parameter", param: field });
    expect((await answer).body.error.message).toMatch(new RegExp(`^${field}: is not supported`));
  });

  it("takes neutral, null and unknown fields", async () => {
    const neutral = { suffix: "", best_of: 2, n: 2, echo: false, presence_penalty: 0, frequency_penalty: 0 };
    const more = { repetition_penalty: 1, min_p: 0, min_tokens: 0, logit_bias: {}, stop_token_ids: [], stop: [""] };
    const absent = {
      max_tokens: null,
      temperature: null,
      stop: null,
      stream: null,
      sparq: null,
      seed: null,
      user: null,
    };
    const unknown = { never_heard_of: { a: 1 }, response_format: { type: "text" } };
    const { status } = await post("/v1/completions", { prompt: "a", ...neutral, ...more, ...absent, ...unknown });
    expect(status).toBe(200);
    const nulls = Object.fromEntries(Object.keys({ ...neutral, ...more }).map((field) => [field, null]));
    expect((await post("/v1/completions", { prompt: "a", ...nulls })).status).toBe(200);
  });

  it("answers a fault of its own with 500, and tells nothing of the inside", async () => {
    const { status, body } = await post("/v1/completions", { prompt: [77_777] });
    expect(status).toBe(500);
    expect(body.error).toMatchObject({ type: "server_error", code: "internal_error" });
    expect(JSON.stringify(body)).not.toMatch(/secret/);
  });
});

describe("chat completions", () => {
  it.each<[string, object, object]>([
    ["no messages", {}, { param: "messages" }],
    ["empty messages", { messages: [] }, { param: "messages" }],
    ["too many messages", { messages: new Array(16_385).fill(user) }, { code: "invalid_value", param: "messages" }],
    ["no content", { messages: [user, { role: "user" }] }, { param: "messages[1].content" }],
    ["null of a user", { messages: [{ role: "user", content: null }] }, { param: "messages[0].content" }],
    ["a number", { messages: [{ role: "user", content: 3 }] }, { param: "messages[0].content" }],
    [
      "a part that is no object",
      { messages: [{ role: "user", content: ["a"] }] },
      { code: "invalid_value", param: "messages[0].content[0]" },
    ],
    [
      "a part without its text",
      { messages: [{ role: "user", content: [{ type: "text" }] }] },
      { param: "messages[0].content[0].text" },
    ],
    ["a wrong role", { messages: [{ role: "robot", content: "" }] }, { param: "messages[0].role" }],
    ["a function's result", { messages: [{ role: "function", content: "" }] }, { code: "unsupported_parameter" }],
    ["tools", { messages: [user], tools: [{ type: "function" }] }, { param: "tools[0].function" }],
    ["a foreign tool", { messages: [user], tools: [{ type: "search" }] }, { param: "tools[0].type" }],
    ["a tool choice", { messages: [user], tool_choice: "required" }, { param: "tool_choice" }],
    ["likeliest tokens alone", { messages: [user], top_logprobs: 2 }, { code: "invalid_value", param: "top_logprobs" }],
    ["too many", { messages: [user], logprobs: true, top_logprobs: 21 }, { param: "top_logprobs" }],
    ["another model", { messages: [user], model: "other" }, { status: 404, code: "model_not_found", param: "model" }],
  ])("%s", async (_, body, expected) => {
    await expectFault(post("/v1/chat/completions", body), { status: 400, ...expected });
  });

  it("names a content part that is no text", async () => {
    const content = [
      { type: "text", text: "see" },
      { type: "image_url", image_url: { url: "data:" } },
    ];
    const answer = post("/v1/chat/completions", { messages: [{ role: "user", content }] });
    await expectFault(answer, { status: 400, code: "unsupported_parameter", param: "messages[0].content[1].type" });
    expect((await answer).body.error.message).toMatch(/"image_url": models here read text only/);
  });

  it("gets the template's own message", async () => {
    const tokenizer: Tokenizer = {
      ...tokenizerParts,
      applyChatTemplate() {
        throw new ChatTemplateError("roles must alternate");
      },
    };
    const other = await serve(servingOf(new FakeEngine(() => []), { tokenizer }));
    await other.ready;
    const response = await fetch(`${other.url}/v1/chat/completions`, {
      method: "POST",
      body: JSON.stringify({ messages: [user] }),
    });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({
      error: { message: "roles must alternate", code: "chat_template_error", param: "messages" },
    });
    await other.close();
  });
});

describe("the server", () => {
  it("refuses a prompt of megabytes with both numbers", async () => {
    const huge = "All work and no play. ".repeat(40_000);
    for (const [path, body, param] of [
      ["/v1/completions", { prompt: ["short", huge] }, "prompt"],
      ["/v1/chat/completions", { messages: [{ role: "user", content: huge }] }, "messages"],
      ["/v1/chat/completions", { messages: new Array(10_000).fill(user) }, "messages"],
    ] as const) {
      const { status, body: answer } = await post(path, body);
      expect({ status, ...answer.error }).toMatchObject({ status: 400, code: "context_length_exceeded", param });
      expect(answer.error.message).toMatch(/more than \d+ tokens; the context is 128 tokens/);
    }
  });

  it("answers 429 with Retry-After while too many prompts wait", async () => {
    const prompts: PromptEncoder = {
      encode: () => Promise.reject(engineErrors.queueFull(256, 256)),
      applyChatTemplate: () => Promise.reject(engineErrors.queueFull(256, 256)),
      close: async () => {},
    };
    const other = await serve(servingOf(new FakeEngine(() => []), { prompts }));
    await other.ready;
    const response = await fetch(`${other.url}/v1/completions`, { method: "POST", body: '{"prompt":"a"}' });
    expect([response.status, response.headers.get("retry-after")]).toEqual([429, "1"]);
    expect(await response.json()).toMatchObject({
      error: { code: "queue_full", message: expect.stringContaining("256") },
    });
    await other.close();
  });

  it("has no other URLs", async () => {
    await expectFault(send("/v1/nothing", {}), { status: 404, code: "unknown_url" });
    await expectFault(send("/v1/models/other", {}), { status: 404, code: "model_not_found" });
  });

  it("names the methods that it takes", async () => {
    const answer = send("/v1/completions", {});
    await expectFault(answer, { status: 405, code: "method_not_allowed" });
    expect((await answer).headers.get("allow")).toBe("POST");
    await expectFault(send("/health", { method: "DELETE" }), { status: 405 });
  });

  it("takes bodies up to its limit", async () => {
    const large = { prompt: "a", user: "x".repeat(2 ** 20) };
    await expectFault(post("/v1/completions", large), { status: 413, code: "body_too_large" });
    await expectFault(post("/nowhere", large), { status: 404 });
    await expectFault(post("/v1/chat/completions", large), { status: 413, code: "body_too_large" });
    const fitting = { prompt: "a", user: "x".repeat(2 ** 20 - 100) };
    expect((await post("/v1/completions", fitting)).status).toBe(200);
  });

  it("takes chunked bodies up to its limit", async () => {
    const chunked = (size: number) =>
      send("/v1/completions", {
        method: "POST",
        body: new ReadableStream({
          start(controller) {
            const text = JSON.stringify({ prompt: "a", user: "x".repeat(size) });
            for (let i = 0; i < text.length; i += 65_536) {
              controller.enqueue(new TextEncoder().encode(text.slice(i, i + 65_536)));
            }
            controller.close();
          },
        }),
        duplex: "half",
      } as RequestInit);
    expect((await chunked(1000)).status).toBe(200);
    await expectFault(chunked(2 ** 20 + 1), { status: 413, code: "body_too_large" });
  });

  it("lives on after a client that leaves in the middle of its body", async () => {
    const { hostname, port } = new URL(server.url);
    const request = httpRequest({ hostname, port, path: "/v1/completions", method: "POST" });
    request.on("error", () => {});
    request.setHeader("content-length", 1000);
    request.write('{"prompt": ');
    await new Promise((resolve) => setTimeout(resolve, 20));
    request.destroy();
    expect((await post("/v1/completions", { prompt: "a" })).status).toBe(200);
  });
});
