import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import { type Peer, PeerMissing } from "../../bench/compare/peer.ts";
import { peers } from "../../bench/compare/peers.ts";
import { runCompare } from "../../bench/compare/run.ts";
import type { System } from "../../bench/compare/system.ts";
import type { Measurement } from "../../bench/record/measurement.ts";
import { type BenchRecord, readRecord } from "../../bench/record/record.ts";
import { runCli } from "../support/cli.ts";
import { goldenPath } from "../support/golden.ts";

const folder = mkdtempSync(join(tmpdir(), "sparq-bench-"));
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(() => {
  vi.unstubAllEnvs();
});

describe("help", () => {
  it.each([
    [["bench", "--help"], /Usage: sparq bench.*decode.*compare/s],
    [["bench", "decode", "--help"], /--context <list>.*default:\s+512,2048,4095.*--rounds <n>/s],
    [["bench", "compare", "--help"], /--peers <list>.*llama\.cpp.*transformers\.js.*--batch <list>.*--json <file>/s],
    [["help", "bench"], /compare/],
  ])("%j", async (args, text) => {
    const { exitCode, out, err } = await runCli(args);
    expect({ exitCode, err }).toEqual({ exitCode: 0, err: "" });
    expect(out).toMatch(text);
  });
});

describe("what makes no sense", () => {
  it.each<[string[], RegExp]>([
    [[], /Usage: sparq bench/],
    [["compose"], /unknown command 'compose'.*Did you mean compare/s],
    [["compare", "--peers", "llama.cpp,vllm"], /--peers.*There is no peer "vllm"; there are llama\.cpp, onnxruntime/],
    [
      ["compare", "--context", "2k"],
      /--context <list>' argument '2k' is invalid\. It must be whole numbers from 1 to 1048576/,
    ],
    [["compare", "--batch", "0"], /--batch <list>' argument '0' is invalid/],
    [["compare", "--rounds", "0"], /--rounds <n>' argument '0' is invalid/],
    [["compare", "--prefill", "none"], /--prefill \[rounds\]' argument 'none' is invalid/],
    [["compare", "--kv-dtype", "f64"], /--kv-dtype.*Allowed choices are f32, f16/],
    [["decode", "--batch", "1,8"], /--batch <n>' argument '1,8' is invalid/],
    [["decode", "extra"], /too many arguments/],
    [["decode", "--r", "4096"], /--r \(or SPARQ_R\) r is 4096, over the head size/],
  ])("bench %j ends with code 2", async (args, message) => {
    const { exitCode, out, err } = await runCli(["bench", ...args]);
    expect({ exitCode, out }).toEqual({ exitCode: 2, out: "" });
    expect(err).toMatch(message);
  });

  it("in a variable is named after it", async () => {
    vi.stubEnv("SPARQ_THREADS", "all");
    const { exitCode, err } = await runCli(["bench", "compare"]);
    expect(exitCode).toBe(2);
    expect(err).toMatch(/'all' from env 'SPARQ_THREADS' is invalid\. It must be a whole number from 1 to 1024/);
  });
});

it("measures decode steps of a built-in model", async () => {
  const json = join(folder, "decode.json");
  const sizes = ["--context", "70,9", "--batch", "2", "--rounds", "1", "--threads", "1"];
  const { exitCode, out, err } = await runCli(["bench", "decode", ...sizes, "--json", json]);
  expect({ exitCode, err }).toEqual({ exitCode: 0, err: "" });
  expect(out.trim().split("\n")).toHaveLength(2 + 4);
  const report = JSON.parse(readFileSync(json, "utf8"));
  expect(report).toMatchObject({ machine: { threads: 1 }, model: "tiny-llama" });
  expect(report.results.map(({ context, batch }: Record<string, number>) => [context, batch])).toEqual(
    [9, 9, 70, 70].map((context) => [context, 2]),
  );
});

it("decodes as a server would at that context, or with the r and k that are named", async () => {
  const json = join(folder, "served.json");
  const modes = async (context: string, ...flags: string[]) => {
    const sizes = ["--context", context, "--rounds", "1"];
    await runCli(["bench", "decode", ...sizes, ...flags, "--json", json]);
    const { results } = JSON.parse(readFileSync(json, "utf8"));
    return results.map(({ mode }: { mode: string }) => mode);
  };
  // A row behind 3071 positions sees 3072.
  expect(await modes("3070,3071")).toEqual([...["dense", "dense below 3072"], ...["dense", "sparq r 8 k 512"]]);
  expect(await modes("100", "--r", "4", "--k", "64")).toEqual(["dense", "sparq r 4 k 64"]);
});

it("measures decode steps of several rows", async () => {
  const json = join(folder, "rows.json");
  const sizes = ["--context", "125", "--rows", "1,5", "--rounds", "1", "--threads", "1"];
  const { exitCode, err } = await runCli(["bench", "decode", ...sizes, "--json", json]);
  expect({ exitCode, err }).toEqual({ exitCode: 0, err: "" });
  const { results } = JSON.parse(readFileSync(json, "utf8"));
  expect(results.map(({ rows }: Record<string, number>) => rows)).toEqual([1, 1, 5, 5]);
});

it("measures a stream's pace beside a long prompt", async () => {
  const json = join(folder, "pace.json");
  const sizes = ["--prompt", "200", "--context", "20", "--slowdowns", "2,0", "--threads", "1"];
  const { exitCode, out, err } = await runCli(["bench", "pace", "--model", "tiny-llama", ...sizes, "--json", json]);
  expect({ exitCode, err }).toEqual({ exitCode: 0, err: "" });
  const { results, aloneSeconds } = JSON.parse(readFileSync(json, "utf8"));
  expect(aloneSeconds).toBeGreaterThan(0);
  expect(out.trim().split("\n")).toHaveLength(4 + results.length);
  expect(results.map(({ slowdown }: { slowdown: number }) => slowdown)).toEqual([2, 0]);
  for (const { alone, beside, tokens, firstTokenSeconds } of results) {
    expect(Math.min(alone.medianMs, beside.medianMs, firstTokenSeconds)).toBeGreaterThan(0);
    expect(tokens).toBeGreaterThan(0);
  }
  const wrong = await runCli(["bench", "pace", "--slowdowns", "0.5"]);
  expect(wrong).toMatchObject({
    exitCode: 2,
    err: expect.stringContaining("numbers from 1 to 1000, or 0 for no limit"),
  });
});

it("measures what a server adds to steps", async () => {
  const json = join(folder, "overhead.json");
  // Long enough that both streams run at the same time however late the second one comes.
  const sizes = ["--batch", "2", "--context", "64", "--tokens", "600", "--rounds", "1", "--threads", "1"];
  const { exitCode, out, err } = await runCli(["bench", "overhead", "--model", "tiny-llama", ...sizes, "--json", json]);
  expect({ exitCode, err }).toEqual({ exitCode: 0, err: "" });
  expect(out).toMatch(/gap between native calls.*sampling and gap: .* % of a step's graph/s);
  const { served, direct } = JSON.parse(readFileSync(json, "utf8"));
  expect(direct.steps).toBe(served.steps);
  expect(served.steps).toBeGreaterThan(4);
  for (const { period, graph, gap } of [served, direct]) expect(period).toBeGreaterThan(Math.max(graph, gap));
});

it("measures drafts, and that they change nothing", async () => {
  const json = join(folder, "speculation.json");
  const sizes = ["--batch", "2", "--max-tokens", "24", "--rounds", "1", "--threads", "1"];
  const flags = ["--model", "tiny-llama", ...sizes, "--json", json];
  const { exitCode, out, err } = await runCli(["bench", "speculation", ...flags]);
  expect({ exitCode, err }).toEqual({ exitCode: 0, err: "" });
  const { results } = JSON.parse(readFileSync(json, "utf8"));
  expect(out.trim().split("\n")).toHaveLength(2 + results.length);
  for (const { tokens, plain, drafted, draftTokens, acceptedDraftTokens } of results) {
    expect(tokens).toBeGreaterThan(0);
    expect(Math.min(plain, drafted)).toBeGreaterThan(0);
    expect(draftTokens).toBeGreaterThanOrEqual(acceptedDraftTokens);
  }
});

describe("compare", () => {
  const options = {
    peers: ["llama.cpp" as const],
    ...{ model: join(folder, "tiny.gguf"), threads: 1, python: "python3", context: [20, 64], batch: [1, 3] },
    ...{ rounds: 3, steps: 2, roundSeconds: 60, prefill: 1 },
  };
  const io = { out: vi.fn(), err: vi.fn(), interactive: false, stop: new AbortController().signal, abandon: () => {} };
  copyFileSync(goldenPath("gguf", "tiny.gguf"), options.model);
  const known = (start: Peer["start"]) => ({ ...peers, "llama.cpp": { ...peers["llama.cpp"], start } });
  const missing = known(async () => {
    throw new PeerMissing("llama.cpp is not installed; get its libraries with: npm install ...");
  });
  const labelsOf = ({ measurements }: BenchRecord, named: string) =>
    measurements.filter(({ name }) => name === named).map(({ labels }) => labels);

  it("measures sparq alone without the peer, and says why", async () => {
    const json = join(folder, "compare.json");
    expect(await runCompare({ ...options, json }, io, missing)).toBe(0);
    expect(io.err).toHaveBeenCalledWith(expect.stringMatching(/^llama\.cpp is skipped: .*npm install/));
    const record = readRecord(json);
    expect(record).toMatchObject({
      bench: "compare",
      machine: { threads: 1 },
      versions: { sparq: expect.any(String), onnxruntime: expect.any(String) },
      command: expect.stringMatching(
        /^sparq bench compare --peers llama\.cpp .*--context 20,64 --batch 1,3 --rounds 3/,
      ),
      settings: { agreement: {}, shortened: [] },
      skipped: [{ what: "llama.cpp", reason: expect.stringMatching(/npm install/) }],
    });
    expect(labelsOf(record, "decode step")).toEqual(
      [20, 64].flatMap((context) =>
        [1, 3].flatMap((batch) =>
          ["default", "dense"].map((variant) => ({ system: "sparq", variant, context, batch })),
        ),
      ),
    );
    expect(labelsOf(record, "prefill speed")).toEqual([20, 64].map((context) => ({ system: "sparq", context })));
    for (const { rounds, interval, value } of record.measurements.filter(({ name }) => name === "decode step")) {
      expect(rounds).toHaveLength(3);
      expect(interval![0]).toBeLessThanOrEqual(value);
      expect(value).toBeGreaterThan(0);
    }
  });

  it("stops with code 130 when it is told to", async () => {
    expect(await runCompare(options, { ...io, stop: AbortSignal.abort() }, missing)).toBe(130);
  });

  it("closes all sides and names the one that runs another model", async () => {
    const close = vi.fn();
    const other = {
      ...{ name: "llama.cpp", variants: ["dense"], versions: {}, vocabSize: 7, layers: 1, close },
    } as unknown as System;
    await expect(
      runCompare(
        options,
        io,
        known(async () => other),
      ),
    ).rejects.toThrow(
      /^llama\.cpp sees 1 layers and 7 tokens, sparq \d+ and \d+: one of the two does not run this model/,
    );
    expect(close).toHaveBeenCalledOnce();
  });

  it("is held against an earlier record", async () => {
    const json = join(folder, "baseline.json");
    const few = { ...options, context: [20], batch: [1] };
    await runCompare({ ...few, json }, io, missing);
    const record = readRecord(json);
    // Whatever the machine does meanwhile, a thousandth of these times is not reached.
    const faster = record.measurements.map((one) => scaled(one, one.unit === "ms" ? 1e-3 : 1));
    writeFileSync(json, JSON.stringify({ ...record, measurements: faster }));
    expect(await runCompare({ ...few, baseline: json }, io, missing)).toBe(1);
    expect(io.out).toHaveBeenLastCalledWith(expect.stringMatching(/decode step \(system sparq, .*worse/));
  });
});

function scaled(one: Measurement, by: number): Measurement {
  const interval = one.interval && ([one.interval[0] * by, one.interval[1] * by] as const);
  return { ...one, value: one.value * by, interval, rounds: one.rounds.map((value) => value * by) };
}
