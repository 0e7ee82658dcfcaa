import pino from "pino";
import { afterEach, describe, expect, it } from "vitest";
import type { StartedServer } from "../../server/start.ts";
import { FakeEngine, gate, type Script } from "../support/fake-engine.ts";
import { serve, servingOf } from "../support/serving.ts";

const servers: StartedServer[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

type Line = Readonly<Record<string, unknown>>;

async function started(script: Script, options: Readonly<Record<string, unknown>> = {}) {
  const lines: Line[] = [];
  const log = pino({ level: "debug" }, { write: (line: string) => lines.push(JSON.parse(line)) });
  const server = await serve(servingOf(new FakeEngine(script)), options, log);
  servers.push(server);
  await server.ready;
  const linesOf = (id: string | null) => lines.filter(({ requestId }) => requestId === id);
  const lastLine = async (id: string | null) => {
    const isLast = ({ msg }: Line) => msg === "request";
    await expect.poll(() => linesOf(id).some(isLast)).toBe(true);
    return linesOf(id).find(isLast);
  };
  return { url: server.url, lines, linesOf, lastLine };
}

const post = (url: string, body: object, headers: Record<string, string> = {}) =>
  fetch(`${url}/v1/completions`, { method: "POST", body: JSON.stringify(body), headers });

const idOf = ({ headers }: Response) => headers.get("x-request-id");

describe("a request's id", () => {
  it("is the client's if it is sane, else one of ours, on every answer", async () => {
    const { url } = await started(() => ["x"]);
    const sane = { "x-request-id": "trace-01_a=" };
    expect(idOf(await post(url, { prompt: "a" }, sane))).toBe("trace-01_a=");
    expect(idOf(await post(url, { prompt: "a", stream: true }, sane))).toBe("trace-01_a=");
    expect(idOf(await post(url, { prompt: 1 }, sane))).toBe("trace-01_a=");
    expect(idOf(await fetch(`${url}/no/such`, { headers: sane }))).toBe("trace-01_a=");
    expect(idOf(await fetch(`${url}/health`, { headers: sane }))).toBe("trace-01_a=");
    for (const id of ["", "a b", 'a"b', "ä".repeat(3), "x".repeat(129)]) {
      const made = idOf(await fetch(`${url}/v1/models`, { headers: { "x-request-id": id } }));
      expect(made).toMatch(/^[0-9a-f-]{36}$/);
    }
    expect(idOf(await fetch(`${url}/v1/models`))).not.toBe(idOf(await fetch(`${url}/v1/models`)));
  });

  it("is in every line of the request", async () => {
    const { url, linesOf, lastLine } = await started(() => ["a", new Error("the model broke")]);
    const id = idOf(await post(url, { prompt: "a" }));
    expect(await lastLine(id)).toMatchObject({ status: 500, error: "internal_error", path: "/v1/completions" });
    expect(linesOf(id).map(({ msg }) => msg)).toEqual(["request failed", "request"]);
    const streamed = await post(url, { prompt: "a", stream: true });
    expect(await streamed.text()).toMatch(/"error".*\[DONE\]/s);
    expect(await lastLine(idOf(streamed))).toMatchObject({ status: 200, completionTokens: 1, finishReason: "error" });
    expect(linesOf(idOf(streamed)).map(({ msg }) => msg)).toEqual(["stream failed", "request"]);
  });
});

describe("a request's last line", () => {
  it("sums up what was generated", async () => {
    const { url, lastLine } = await started(() => ["a", { text: "b", finish: "stop" }]);
    const id = idOf(await post(url, { prompt: [5, 6, 7], n: 2 }));
    expect(await lastLine(id)).toMatchObject({
      method: "POST",
      path: "/v1/completions",
      status: 200,
      promptTokens: 3,
      completionTokens: 4,
      finishReason: "stop",
      ttftMs: expect.any(Number),
      ms: expect.any(Number),
    });
  });

  it("of a stream comes at its end", async () => {
    const rest = gate();
    const { url, linesOf, lastLine } = await started(async function* () {
      yield "a";
      await rest.opened;
      yield "b";
    });
    const response = await post(url, { prompt: "a", max_tokens: 2, stream: true });
    const reader = response.body!.getReader();
    await reader.read();
    expect(linesOf(idOf(response))).toEqual([]);
    rest.open();
    while (!(await reader.read()).done);
    expect(await lastLine(idOf(response))).toMatchObject({ completionTokens: 2, finishReason: "length" });
  });

  it("says that the client left", async () => {
    const never = gate();
    const { url, lastLine } = await started(async function* () {
      yield "a";
      await never.opened;
    });
    const response = await post(url, { prompt: "a", stream: true });
    const reader = response.body!.getReader();
    await reader.read();
    await reader.cancel();
    expect(await lastLine(idOf(response))).toMatchObject({ completionTokens: 1, finishReason: "abort" });
  });

  it("of a probe is for debugging, and none has what a prompt or a header says", async () => {
    const { url, lines, lastLine } = await started(() => ["x"], { apiKey: ["the-key"] });
    const debug = pino.levels.values.debug;
    for (const path of ["/health", "/livez", "/readyz", "/metrics"]) {
      expect(await lastLine(idOf(await fetch(url + path)))).toMatchObject({ path, level: debug });
    }
    const id = idOf(await post(url, { prompt: "my secret" }, { authorization: "Bearer the-key" }));
    expect(await lastLine(id)).toMatchObject({ tenant: expect.stringMatching(/^[0-9a-f]{12}$/), level: debug! + 10 });
    await post(url, { prompt: "my secret" }, { authorization: "Bearer another-key" });
    await post(url, { prompt: { my: "secret" } }, { authorization: "Bearer the-key" });
    expect(JSON.stringify(lines)).not.toMatch(/my secret|the-key|another-key/);
  });

  it("comes after the prompts where these are asked for", async () => {
    const { url, linesOf, lastLine } = await started(() => ["x"], { logPrompts: true });
    const id = idOf(await post(url, { prompt: ["my prompt", "another"], n: 2 }));
    await lastLine(id);
    expect(linesOf(id).map(({ msg, prompt }) => [msg, prompt])).toEqual([
      ["prompt", "my prompt"],
      ["prompt", "another"],
      ["request", undefined],
    ]);
  });
});
