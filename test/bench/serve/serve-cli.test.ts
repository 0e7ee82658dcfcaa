import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import type { BenchRecord } from "../../../bench/record/record.ts";
import { runCli } from "../../support/cli.ts";
import { answer, type Behaviour, fakeServer, piece, stream } from "./fake-server.ts";

// Each starts a process or two, which takes its time on a machine that has much to do.
vi.setConfig({ testTimeout: 300_000 });

const folder = mkdtempSync(join(tmpdir(), "sparq-serve-"));
const json = join(folder, "serve.json");
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(() => {
  vi.unstubAllEnvs();
});

const small = ["--requests", "6", "--input-tokens", "40", "--output-tokens", "5", "--warmup", "2"];
const recordIn = (path: string) => JSON.parse(readFileSync(path, "utf8")) as BenchRecord;
const figureIn = ({ measurements }: BenchRecord, name: string, labels: object = {}) =>
  measurements.find(
    (one) => one.name === name && Object.entries(labels).every(([key, value]) => one.labels[key] === value),
  )?.value;

async function bench(behaviour: Behaviour, ...flags: readonly string[]) {
  const server = await fakeServer(behaviour);
  try {
    return {
      ...(await runCli(["bench", "serve", "--url", server.url, ...small, ...flags])),
      received: server.received,
    };
  } finally {
    await server.close();
  }
}

const sound: Behaviour = (response, body) => answer(response, body);

it("measures a server of its own, end to end", async () => {
  const report = join(folder, "page.html");
  const flags = [
    "--model",
    "tiny-llama",
    "--threads",
    "1",
    "--rounds",
    "3",
    "--concurrency",
    "1,3",
    "--goodput",
    "ttft:600000",
  ];
  const run = await runCli(["bench", "serve", ...flags, ...small, "--json", json, "--report", report]);
  expect(run.exitCode, run.err).toBe(0);
  expect(run.out.match(/^rate inf, concurrency \d+: .* requests\/s, goodput/gm)).toHaveLength(2);
  expect(run.out.match(/^\| (TTFT|TPOT|ITL|E2EL) \|/gm)).toHaveLength(8);
  const record = recordIn(json);
  expect(record).toMatchObject({ bench: "serve", model: "tiny-llama", machine: { threads: 1 }, skipped: [] });
  for (const concurrency of [1, 3]) {
    const at = (name: string, labels: object = {}) => figureIn(record, name, { concurrency, ...labels });
    expect(at("output tokens")).toBe(5);
    expect(at("failed requests")).toBe(0);
    expect(at("goodput")).toBe(at("request throughput"));
    expect(at("peak concurrency")).toBeLessThanOrEqual(concurrency);
    expect(Math.abs(at("input tokens")! - 40)).toBeLessThan(12);
    expect(at("TTFT", { statistic: "p99" })).toBeGreaterThan(0);
    expect(at("E2EL", { statistic: "median" })).toBeGreaterThan(at("TTFT", { statistic: "median" })!);
  }
  expect(readFileSync(report, "utf8").match(/<figcaption>/g)).toHaveLength(5);
});

it("sends what was asked for, and nothing twice", async () => {
  vi.stubEnv("OPENAI_API_KEY", "secret");
  const flags = [
    "--rounds",
    "2",
    "--rate",
    "400",
    "--header",
    "X-Team: search",
    "--extra-body",
    '{"top_p":0.9}',
    "--json",
    json,
  ];
  const { exitCode, err, received } = await bench(sound, ...flags);
  expect(exitCode, err).toBe(0);
  const loads = received.slice(2); // After the two that find out what the server takes.
  expect(loads).toHaveLength(2 + 2 * 6);
  for (const { headers, body } of received) {
    expect(headers).toMatchObject({ authorization: "Bearer secret", "x-team": "search" });
    expect(body.top_p).toBe(0.9);
  }
  for (const { body } of loads) expect(body.messages![0]!.content.split(" ")).toHaveLength(36);
  expect(new Set(loads.map(({ body }) => body.messages![0]!.content)).size).toBe(14);
  const text = readFileSync(json, "utf8");
  expect(text).not.toContain("secret");
  expect(recordIn(json).command).toMatch(/--rate 400 .*--header 'X-Team: \.\.\.'$/);
  expect(figureIn(recordIn(json), "sent late, p99", { rate: 400, concurrency: "none" })).toBeGreaterThanOrEqual(0);
});

it("counts what failed by its kind, in the figures too, and ends with code 1", async () => {
  const { exitCode, out } = await bench(
    (response, body, n) => {
      if (n === 5) response.writeHead(503).end("busy");
      else if (n === 6 || n === 7) stream(response, piece("a")).write("", () => response.socket!.destroy());
      else answer(response, body);
    },
    ...["--rounds", "1", "--concurrency", "1", "--json", json],
  );
  expect(exitCode).toBe(1);
  expect(out).toMatch(/failed: 2 of 6: connection closed: .*\nfailed: 1 of 6: HTTP 503: busy\n/);
  const record = recordIn(json);
  expect(figureIn(record, "failed requests")).toBe(3);
  expect(record.skipped).toEqual([
    { what: "2 of 6 requests at rate inf, concurrency 1", reason: expect.stringMatching(/^connection closed: /) },
    { what: "1 of 6 requests at rate inf, concurrency 1", reason: "HTTP 503: busy" },
  ]);
});

it("has no figures of a round in which all failed", async () => {
  const { exitCode, out } = await bench(
    (response, body, n) => {
      if (n >= 4) response.writeHead(500).end("oh");
      else answer(response, body);
    },
    "--rounds",
    "1",
    "--json",
    json,
  );
  expect(exitCode).toBe(1);
  expect(out).toMatch(/\| TTFT \| unknown \|.*failed: 6 of 6: HTTP 500: oh/s);
  expect(recordIn(json).skipped).toContainEqual({
    what: "TTFT p99 at rate inf, concurrency 8",
    reason: "1 of 1 rounds have none",
  });
});

it("does not begin if the warm-up fails", async () => {
  const { exitCode, err, received } = await bench((response, body, n) => {
    if (n >= 2) answer(response, { ...body, max_tokens: 3 });
    else answer(response, body);
  });
  expect({ exitCode, err }).toEqual({
    exitCode: 1,
    err: expect.stringMatching(
      /no request of the warm-up was answered as it must be: wrong number|ended early: 3 of 5/,
    ),
  });
  expect(received).toHaveLength(4);
});

it("takes prompts of a file", async () => {
  const path = join(folder, "data.jsonl");
  const lines = Array.from({ length: 8 }, (_, i) => ({
    prompt: `what is ${i} to you?`,
    response: "x".repeat(4 * (4 + i)),
  }));
  writeFileSync(path, lines.map((line) => JSON.stringify(line)).join("\n"));
  const args = ["bench", "serve", "--rounds", "1", "--requests", "6", "--warmup", "2", "--data", path];
  const server = await fakeServer(sound);
  const run = await runCli([...args, "--url", server.url]);
  const more = await runCli([...args, "--url", server.url, "--rounds", "2"]);
  await server.close();
  expect(run.exitCode, run.err).toBe(0);
  const sent = server.received.slice(2, 10).map(({ body }) => [body.messages![0]!.content, body.max_tokens]);
  expect(sent.sort()).toEqual(lines.map(({ prompt }, i) => [prompt, 4 + i]));
  expect(more).toMatchObject({ exitCode: 1, err: expect.stringMatching(/has 8 prompts .*, and 14 are needed/) });
});

it("compares only with the same load", async () => {
  expect((await bench(sound, "--rounds", "3", "--json", json)).exitCode).toBe(0);
  const { exitCode, err, received } = await bench(sound, "--output-tokens", "6", "--baseline", json);
  expect({ exitCode, err }).toEqual({ exitCode: 1, err: expect.stringMatching(/--output-tokens 5, not 6/) });
  expect(received).toEqual([]);
  const again = await bench(sound, "--rounds", "3", "--seed", "2", "--baseline", json);
  expect(again.out).toMatch(/against the baseline: \d+ of \d+ figures within the noise/);
});

it("stops with code 130", async () => {
  const stop = new AbortController();
  const server = await fakeServer((response, body, n) => {
    if (n < 3) answer(response, body);
    else stop.abort();
  });
  const { exitCode } = await runCli(["bench", "serve", "--url", server.url, ...small], stop.signal);
  await server.close();
  expect(exitCode).toBe(130);
});

describe("what makes no sense", () => {
  it.each<[string[], RegExp]>([
    [["--rate", "0"], /--rate <list>' argument '0' is invalid\. It must be numbers over 0, or inf/],
    [["--rate", "1,many"], /numbers over 0/],
    [["--burstiness", "-1"], /It must be a number over 0, or inf/],
    [["--goodput", "ttft"], /milliseconds of ttft, tpot, e2el/],
    [["--goodput", "itl:5"], /milliseconds of ttft, tpot, e2el/],
    [["--goodput", "ttft:5,ttft:6"], /milliseconds of ttft, tpot, e2el/],
    [["--header", "none"], /as in X-Team: search/],
    [["--extra-body", "[]"], /It must be a JSON object/],
    [["--extra-body", '{"stream":false}'], /It must not set stream/],
    [["--endpoint", "responses"], /Allowed choices are chat, completions/],
    [["--timeout", "0"], /number over 0/],
    [["--input-tokens", "5", "--shared-prefix-tokens", "5"], /--shared-prefix-tokens 5 must be below --input-tokens 5/],
    [["--data", "a", "--input-tokens", "5"], /--input-tokens does not go with --data/],
    [["--url", "localhost:8000"], /--url must be one of http or https, not 'localhost:8000'/],
    [["--url", "http://localhost", "--threads", "2"], /--threads is for a server that is started here/],
  ])("bench serve %j ends with code 2", async (args, message) => {
    const { exitCode, out, err } = await runCli(["bench", "serve", ...args]);
    expect({ exitCode, out }).toEqual({ exitCode: 2, out: "" });
    expect(err).toMatch(message);
  });
});
