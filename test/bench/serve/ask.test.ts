import { expect, it } from "vitest";
import { faultOf } from "../../../bench/serve/check.ts";
import { ask } from "../../../bench/serve/client/ask.ts";
import { answer, type Behaviour, DONE, event, fakeServer, piece, stream, usage } from "./fake-server.ts";

const expected = { outputTokens: 2, ignoreEos: true, usage: true };
const sound = [piece("a"), piece("b"), piece("", "length"), usage(2), DONE];

async function askFake(behaviour: Behaviour, timeoutMs = 60_000) {
  const server = await fakeServer(behaviour);
  const body = JSON.stringify({ max_tokens: 2, stream_options: { include_usage: true } });
  try {
    const question = { url: `${server.url}/v1/chat/completions`, headers: { "x-team": "a" }, body, timeoutMs };
    const timeline = { due: 0, ...(await ask(question, () => performance.now())) };
    return { timeline, received: server.received, fault: faultOf(timeline, expected) };
  } finally {
    await server.close();
  }
}

it("follows an answer to its end", async () => {
  const { timeline, fault, received } = await askFake((response, body) => answer(response, body));
  expect(fault).toBeNull();
  expect(timeline).toMatchObject({
    deltas: 2,
    finishReason: "length",
    done: true,
    completionTokens: 2,
    promptTokens: 5,
  });
  const times = [timeline.sent, ...timeline.chunks, timeline.ended];
  expect(times).toEqual([...times].sort((a, b) => a - b));
  expect(timeline.chunks).toHaveLength(3);
  expect(received[0]!.headers).toMatchObject({ "x-team": "a", accept: "text/event-stream" });
});

it("waits for headers and words that come late, and joins characters that are cut", async () => {
  const [first, second] = [Buffer.from(piece("é")), Buffer.from(sound.slice(1).join(""))];
  const { fault, timeline } = await askFake((response) => {
    setTimeout(() => {
      stream(response).write(first.subarray(0, first.indexOf(0xc3) + 1));
      setTimeout(() => response.write(first.subarray(first.indexOf(0xc3) + 1)), 20);
      setTimeout(() => response.end(second), 40);
    }, 30);
  });
  expect(fault).toBeNull();
  expect(timeline.characters).toBe(2);
});

it.each<[string, RegExp, Behaviour]>([
  ["HTTP 500", /out of order/, (response) => response.writeHead(500).end('{"error":{"message":"out of order"}}')],
  ["HTTP 429", /^$/, (response) => response.writeHead(429).end()],
  [
    "no stream",
    /application\/json: {"choices"/,
    (response) => response.writeHead(200, { "content-type": "application/json" }).end('{"choices":[]}'),
  ],
  ["no stream", /undefined: hello/, (response) => response.writeHead(200).end("hello")],
  ["connection closed", /hang up/, (response) => response.socket!.destroy()],
  [
    "connection closed",
    /aborted/,
    (response) => stream(response, piece("a")).write("", () => response.socket!.destroy()),
  ],
  ["connection closed", /Parse Error/, (response) => response.socket!.end("no HTTP at all\r\n\r\n")],
  ["no [DONE]", /after 1 chunks, 1 characters/, (response) => stream(response, piece("a")).end()],
  ["no [DONE]", /after 0 chunks/, (response) => stream(response).end()],
  ["no [DONE]", /after 1 chunks/, (response) => stream(response, piece("a"), piece("b").slice(0, 20)).end()],
  ["no choices", /no event/, (response) => stream(response, usage(2), DONE).end()],
  ["no finish_reason", /2 chunks/, (response) => stream(response, piece("a"), piece("b"), usage(2), DONE).end()],
  ["finish_reason abort", /1 chunks/, (response) => stream(response, piece("a", "abort"), usage(1), DONE).end()],
  ["empty text", /2 chunks/, (response) => stream(response, piece(""), piece("", "length"), usage(2), DONE).end()],
  ["no usage", /2 chunks/, (response) => stream(response, piece("a"), piece("b", "length"), DONE).end()],
  [
    "ended early",
    /1 of 2 tokens, finish_reason stop/,
    (response) => stream(response, piece("a", "stop"), usage(1), DONE).end(),
  ],
  ["wrong number of tokens", /3 of 2/, (response) => stream(response, piece("a", "length"), usage(3), DONE).end()],
  [
    "wrong usage",
    /3 pieces of text, 2 tokens/,
    (response) => stream(response, piece("a"), piece("b"), piece("c", "length"), usage(2), DONE).end(),
  ],
  [
    "error in the stream",
    /ran out/,
    (response) => stream(response, piece("a"), event({ error: { message: "ran out" } }), DONE).end(),
  ],
  ["malformed event", /not JSON/, (response) => stream(response, piece("a"), event("not JSON"), ...sound).end()],
])("sees %s: %s", async (kind, detail, behaviour) => {
  const { fault } = await askFake(behaviour);
  expect(fault).toMatchObject({ kind, detail: expect.stringMatching(detail) });
});

it.each<[string, Behaviour]>([
  ["headers", () => {}],
  ["the end", (response) => stream(response, ...sound)],
])("gives up if there are no %s in time", async (_, behaviour) => {
  const { fault } = await askFake(behaviour, 300);
  expect(fault).toEqual({ kind: "timeout", detail: "no end after 0.3 s" });
});

it("says so if there is no server", async () => {
  const server = await fakeServer(() => {});
  await server.close();
  const { fault } = await ask({ url: server.url, headers: {}, body: "{}", timeoutMs: 60_000 }, () => 0);
  expect(fault).toMatchObject({ kind: "no connection", detail: expect.stringContaining("ECONNREFUSED") });
});

it("asks again if a kept connection was closed before anything was answered, but only then and once", async () => {
  const server = await fakeServer((response, body, n) => {
    if (n === 1 || n >= 3) response.socket!.resetAndDestroy();
    else answer(response, body);
  });
  const question = { url: server.url, headers: {}, body: '{"max_tokens":1}', timeoutMs: 60_000 };
  try {
    expect(await ask(question, () => 0)).toMatchObject({ fault: null, resent: false });
    await new Promise((resolve) => setImmediate(resolve)); // The connection goes back to the agent after the answer's end.
    expect(await ask(question, () => 0)).toMatchObject({ fault: null, resent: true });
    await new Promise((resolve) => setImmediate(resolve));
    expect((await ask(question, () => 0)).fault?.kind).toBe("connection closed");
    expect(server.received).toHaveLength(5);
  } finally {
    await server.close();
  }
});
