import { expect, it } from "vitest";
import { runCli } from "../support/cli.ts";

const small = ["--model", "tiny-llama", "--threads", "1", "--kv-cache-mb", "64"];
const prompt = "Alice was beginning to get very tired of sitting by her sister";

it("generates text, the same for the same seed", async () => {
  const args = ["generate", ...small, "--prompt", prompt, "--max-tokens", "12", "--temperature", "0.8", "--seed", "5"];
  const first = await runCli(args);
  expect(first).toMatchObject({ exitCode: 0, err: "" });
  expect(first.out).toMatch(/\S.*\n$/s);
  expect(await runCli(args)).toEqual(first);
});

it("generates JSON with usage, speed and traffic", async () => {
  const long = Array.from({ length: 10 }, () => prompt).join(". ");
  const args = ["generate", ...small, "--prompt", long, "--max-tokens", "8", "--json"];
  const sparq = JSON.parse((await runCli([...args, "--r", "8", "--k", "16", "--top-k-buckets", "2"])).out);
  const dense = JSON.parse((await runCli([...args, "--dense"])).out);
  expect(sparq).toMatchObject({
    model: "tiny-llama",
    text: expect.any(String),
    usage: { prompt_tokens: dense.usage.prompt_tokens },
    tokens_per_second: expect.any(Number),
    attention: { mode: "sparq", r: 8, k: 16, local: 4, bucketTopK: 2 },
  });
  expect(["stop", "length"]).toContain(sparq.finish_reason);
  expect(dense).toMatchObject({ attention: { mode: "dense" }, traffic: { scoreBytes: 0, gatherBytes: 0 } });
  expect(dense.traffic_ratio).toBe(1);
  expect(sparq.traffic_ratio).toBeGreaterThan(0.1);
  expect(sparq.traffic_ratio).toBeLessThan(0.6);
});

it("answers a message through the chat template", async () => {
  const { exitCode, out } = await runCli(["generate", ...small, "--prompt", "Hello", "--chat", "--max-tokens", "4"]);
  expect(exitCode).toBe(0);
  expect(out.length).toBeGreaterThan(1);
});

it("names settings that the model cannot use", async () => {
  const { exitCode, err } = await runCli(["generate", ...small, "--prompt", "a", "--r", "4096"]);
  expect(exitCode).toBe(2);
  expect(err).toMatch(/--r .*r is 4096, over the head size \d+/);
});

it("stops with code 130 when it is told to", async () => {
  const args = ["generate", ...small, "--prompt", "a", "--max-tokens", "4000"];
  expect(await runCli(args, AbortSignal.abort())).toMatchObject({ exitCode: 130 });
});

it("generates the same with the model as it is", async () => {
  const args = [
    "generate",
    "--model",
    "tiny-pythia",
    "--threads",
    "1",
    "--prompt",
    "Once upon a time",
    "--max-tokens",
    "16",
  ];
  const dense = await runCli([...args, "--dense"]);
  const asIs = await runCli([...args, "--attention", "onnx"]);
  expect(asIs).toEqual({ exitCode: 0, out: dense.out, err: "" });
  const json = JSON.parse((await runCli([...args, "--attention", "onnx", "--json"])).out);
  expect(json).toMatchObject({ attention: { mode: "onnx" }, traffic: { denseBytes: 0 }, traffic_ratio: null });
  expect(json.text).toBe(dense.out.trimEnd());
});

it("inspects a model as it is", async () => {
  const { out } = await runCli(["inspect", "tiny-llama", "--attention", "onnx"]);
  expect(out).toContain("attention    onnx: the graph's own, dense, run by ONNX Runtime as it is");
  expect(out).toMatch(/^inputs\n {2}"input_ids" int64 \[/m);
  const json = JSON.parse((await runCli(["inspect", "tiny-llama", "--attention", "onnx", "--json"])).out);
  expect(json).toMatchObject({ format: "onnx", attention: "onnx", contextLength: 4096, vocabSize: 2048, known: true });
  // Keys and values of 4 layers, 2 heads of 32 in float32; twice.
  expect(json.cache).toEqual({ inputs: 8, dtypes: ["float32"], bytesPerToken: 2 * 2 * 4 * 2 * 32 * 4 });
});

it("inspects a model", async () => {
  const text = await runCli(["inspect", "tiny-llama"]);
  expect(text).toMatchObject({ exitCode: 0, err: "" });
  expect(text.out).toMatch(/^tiny-llama\n.*attention/s);
  const json = JSON.parse((await runCli(["inspect", "tiny-llama", "--json"])).out);
  expect(json).toMatchObject({ name: "tiny-llama", architecture: "llama" });
});

it("serves until it is told to stop", async () => {
  const stop = new AbortController();
  const lines: string[] = [];
  const running = runCli(["serve", "--port", "0", "--log-level", "silent", ...small], stop.signal, (text) => {
    lines.push(text);
  });
  await expect.poll(() => lines, { timeout: 20_000 }).toHaveLength(1);
  const [, url] = /^sparq: serving tiny-llama at (http:\/\/127\.0\.0\.1:\d+)\n$/.exec(lines[0]!)!;
  expect((await fetch(`${url}/health`)).status).toBe(200);
  stop.abort();
  expect(await running).toMatchObject({ exitCode: 0, err: "" });
  await expect(fetch(`${url}/health`)).rejects.toThrow();
});

it("gives up loading when it is told to stop", async () => {
  const stop = AbortSignal.abort();
  const { exitCode, out } = await runCli(["serve", "--port", "0", "--log-level", "silent", ...small], stop);
  expect({ exitCode, out }).toEqual({ exitCode: 0, out: "" });
});
