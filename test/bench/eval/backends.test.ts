import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import type { EvalReport } from "../../../bench/eval/types.ts";
import { parseServerOptions } from "../../../server/config.ts";
import { loadServing } from "../../../server/load-serving.ts";
import type { StartedServer } from "../../../server/start.ts";
import { runCli } from "../../support/cli.ts";
import { serve, silentLog } from "../../support/serving.ts";

const folder = mkdtempSync(join(tmpdir(), "sparq-eval-backends-"));
afterAll(() => rmSync(folder, { recursive: true }));

async function evaluate(name: string, ...args: string[]): Promise<EvalReport> {
  const json = join(folder, `${name}.json`);
  const { exitCode, err } = await runCli(["eval", ...args, "--json", json]);
  expect({ exitCode, err }).toMatchObject({ exitCode: 0 });
  return JSON.parse(readFileSync(json, "utf8")) as EvalReport;
}

describe("the ONNX model as it was found", { timeout: 300_000 }, () => {
  it.each(["tiny-llama", "tiny-pythia"])("says what dense attention over an f32 cache says: %s", async (model) => {
    const sizes = ["--n", "2", "--tokens", "700", "--threads", "1", "--variants", "onnx,dense:cache=f32"];
    const report = await evaluate(model, "--model", model, "--tasks", "recall,ppl,agreement", ...sizes);
    const of = (task: string, metric: string) => report.results.filter((r) => r.task === task && r.metric === metric);
    const [foreign, own] = of("recall", "exact");
    expect(foreign).toMatchObject({ variant: "onnx", items: own!.items, bytesRatio: null, sparseBytesRatio: null });
    const [foreignPpl, ownPpl] = of("ppl", "perplexity");
    for (const [i, value] of foreignPpl!.items.entries()) expect(value).toBeCloseTo(ownPpl!.items[i]!, 3);
    // The reference has an f16 cache.
    for (const { value } of of("agreement", "KL")) expect(value).toBeLessThan(1e-4);
    for (const { value } of of("agreement", "same top-1")) expect(value).toBeGreaterThan(0.97);
  });
});

describe("a sparq server", { timeout: 300_000 }, () => {
  let server: StartedServer;
  beforeAll(async () => {
    const options = parseServerOptions({ model: "tiny-llama", threads: 1, kvCacheMb: 200 });
    server = await serve(loadServing(options, silentLog));
  });
  afterAll(() => server.close());

  it("answers as the engine in this process does, and says what sparse rows read", async () => {
    const sizes = [
      "--tasks",
      "recall,needle",
      "--tokens",
      "1100",
      "--n",
      "4",
      "--variants",
      "dense,sparq:1/8,window:1/8",
    ];
    const served = await evaluate("served", "--url", server.url, ...sizes);
    const own = await evaluate("own", "--question", "dense", "--threads", "1", ...sizes);
    expect(served).toMatchObject({ model: "tiny-llama", machine: null, settings: { question: "dense" } });
    for (const [i, { variant, bytesRatio, sparseBytesRatio }] of served.results.entries()) {
      expect(bytesRatio).toBeNull();
      if (variant === "dense") expect(sparseBytesRatio).toBeNull();
      else expect(sparseBytesRatio).toBeCloseTo(own.results[i]!.sparseBytesRatio!, 1);
    }
    // Prompts are of other lengths, since the server's tokens are not known when they are made.
    for (const { items } of served.results) expect(items).toHaveLength(4);
    expect(served.results.find(({ variant }) => variant === "dense")!.value).toBeGreaterThan(0.7);
  });

  it.each<[string[], RegExp]>([
    [["--tasks", "ppl"], /texts are scored by a model in this process only/],
    [["--tasks", "agreement"], /agreement needs a model in this process/],
    [["--tasks", "recall", "--variants", "h2o:1/4"], /variant h2o:1\/4 cannot be asked for over HTTP/],
    [["--tasks", "recall", "--variants", "dense:cache=f32"], /variant dense:cache=f32: a server has one cache/],
    [["--tasks", "recall", "--model", "gpt-9"], /answered 404: .*gpt-9/],
  ])("cannot do %j", async (args, message) => {
    const { exitCode, err } = await runCli(["eval", "--n", "1", "--url", server.url, ...args]);
    expect(exitCode).toBe(1);
    expect(err).toMatch(message);
  });
});

describe("a server of another make", () => {
  const bodies: Record<string, unknown>[] = [];
  let server: Server;
  let url = "";
  beforeAll(async () => {
    server = createServer(async (request, response) => {
      const answer = await answerTo(request);
      response.writeHead(answer === undefined ? 404 : 200, { "content-type": "application/json" });
      response.end(JSON.stringify(answer ?? { error: "no such thing" }));
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
  });
  afterAll(() => server.close());

  async function answerTo(request: IncomingMessage): Promise<object | undefined> {
    let text = "";
    for await (const part of request) text += part;
    if (request.url === "/v1/models") return { data: [{ id: "other" }] };
    if (request.url !== "/v1/completions" && request.url !== "/v1/chat/completions") return undefined;
    bodies.push({ ...JSON.parse(text), key: request.headers.authorization });
    const said = " nothing much";
    return { choices: [request.url.includes("chat") ? { message: { content: said } } : { text: said }] };
  }

  it("is asked for its default, greedily", async () => {
    vi.stubEnv("OPENAI_API_KEY", "secret");
    const report = await evaluate("foreign", "--url", url, "--tasks", "squad", "--n", "3", "--variants", "default");
    vi.unstubAllEnvs();
    expect(report).toMatchObject({ model: "other", machine: null });
    expect(report.results).toMatchObject([{ variant: "default", value: 0, bytesRatio: null, sparseBytesRatio: null }]);
    expect(bodies).toHaveLength(3);
    for (const body of bodies) {
      expect(body).toMatchObject({
        model: "other",
        temperature: 0,
        max_tokens: 24,
        key: "Bearer secret",
      });
      expect(body).not.toHaveProperty("sparq");
      expect(body.prompt).toMatch(/^Title: .*\nAnswer:$/s);
    }
    expect(JSON.stringify(report)).not.toContain("secret");
  });

  it("can be asked in chat", async () => {
    bodies.length = 0;
    await evaluate("chat", "--url", url, "--tasks", "needle", "--n", "1", "--variants", "default", "--prompts", "chat");
    expect(bodies).toMatchObject([
      { messages: [{ role: "user", content: expect.stringMatching(/The secret of \w+ is$/) }] },
    ]);
  });

  it("has no other variants", async () => {
    const { exitCode, err } = await runCli(["eval", "--url", url, "--tasks", "squad", "--variants", "sparq:1/4"]);
    expect(exitCode).toBe(1);
    expect(err).toMatch(/variant sparq:1\/4 needs a sparq server; of this one only "default" can be asked for/);
  });

  it("that is not there is named", async () => {
    const { exitCode, err } = await runCli(["eval", "--url", "http://127.0.0.1:9", "--tasks", "squad"]);
    expect(exitCode).toBe(1);
    expect(err).toMatch(/http:\/\/127\.0\.0\.1:9\/v1\/models cannot be reached: /);
  });
});
