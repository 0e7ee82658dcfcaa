import { expect, it } from "vitest";
import { findTarget } from "../../../bench/serve/target.ts";
import { answer, type Behaviour, DONE, fakeServer, piece, stream } from "./fake-server.ts";

const options = {
  ...{
    endpoint: "chat" as const,
    model: undefined,
    headers: { authorization: "Bearer key" },
    extraBody: { top_p: 0.5 },
  },
  ...{ ignoreEos: true, inputTokens: 100, timeoutMs: 60_000, seed: 1 },
};

async function find(behaviour: Behaviour, given: Partial<Parameters<typeof findTarget>[0]> = {}) {
  const server = await fakeServer(behaviour);
  try {
    return { target: await findTarget({ ...options, url: `${server.url}/v1/`, ...given }), received: server.received };
  } finally {
    await server.close();
  }
}

it("asks for all that makes answers comparable, and learns how the server counts words", async () => {
  const { target, received } = await find((response, body) => answer(response, body));
  expect(target).toMatchObject({ scale: { overhead: 4, perWord: 1 }, usage: true, notes: [] });
  expect(target.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/v1\/chat\/completions$/);
  expect(target.body).toMatchObject({
    model: "fake-model",
    features: { usage: true, ignoreEos: true, limit: "max_tokens" },
  });
  expect(received.map(({ path }) => path)).toEqual(["/v1/chat/completions", "/v1/chat/completions"]);
  expect(received[0]!.headers.authorization).toBe("Bearer key");
  expect(received[0]!.body).toMatchObject({
    ...{ model: "fake-model", temperature: 0, top_p: 0.5, max_tokens: 1, stream: true, ignore_eos: true },
    ...{ stream_options: { include_usage: true }, messages: [{ role: "user", content: expect.any(String) }] },
  });
});

it("asks the other endpoint for a model by name, without what is taken out", async () => {
  const given = {
    endpoint: "completions" as const,
    model: "other",
    ignoreEos: false,
    extraBody: { temperature: null },
  };
  const { received } = await find((response, body) => answer(response, body), given);
  expect(received[0]!.path).toBe("/v1/completions");
  expect(Object.keys(received[0]!.body).sort()).toEqual(["max_tokens", "model", "prompt", "stream", "stream_options"]);
  expect(received[0]!.body.model).toBe("other");
});

it.each<[string, (field: Readonly<Record<string, unknown>>) => boolean, object, RegExp[]]>([
  ["ignore_eos", (body) => "ignore_eos" in body, { usage: true, ignoreEos: false }, [/not take ignore_eos/]],
  [
    "stream_options",
    (body) => "stream_options" in body,
    { usage: false, ignoreEos: true },
    [/does not take stream_options: tokens of answers are the pieces/, /as many words as tokens/],
  ],
  ["max_tokens", (body) => "max_tokens" in body, { usage: true, ignoreEos: true, limit: "max_completion_tokens" }, []],
])("leaves out %s for a server that refuses it, and says what is unknown then", async (_, refuses, features, notes) => {
  const { target } = await find((response, body) => {
    if (refuses(body)) response.writeHead(400).end("unknown field");
    else answer(response, { max_tokens: 1, ...body });
  });
  expect(target.body.features).toMatchObject(features);
  expect(target.notes).toHaveLength(notes.length);
  for (const [i, note] of notes.entries()) expect(target.notes[i]).toMatch(note);
});

it("knows a server that takes stream_options and sends no usage", async () => {
  const { target } = await find((response) => stream(response, piece("a", "length"), DONE).end());
  expect(target).toMatchObject({ usage: false, scale: { overhead: 0, perWord: 1 } });
  expect(target.notes[0]).toMatch(/sends no usage/);
});

it.each<[string, Behaviour, RegExp]>([
  [
    "refuses everything",
    (response) => response.writeHead(400).end("no such model"),
    /takes no request: HTTP 400: no such model/,
  ],
  ["is broken", (response) => response.writeHead(500).end("oh"), /gives no answer: HTTP 500: oh/],
])("gives up on a server that %s", async (_, behaviour, message) => {
  await expect(find(behaviour)).rejects.toThrow(message);
});

it("gives up on one that is not there", async () => {
  const { url, close } = await fakeServer(() => {});
  await close();
  await expect(findTarget({ ...options, url })).rejects.toThrow(/:\d+\/v1\/models names no model \(.*ECONNREFUSED/);
});
