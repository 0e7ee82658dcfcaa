import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openSession } from "../../../attention/session.ts";
import { parseVariant } from "../../../bench/eval/variants.ts";
import { type Measurement, measured } from "../../../bench/record/measurement.ts";
import { type BenchRecord, recordOf } from "../../../bench/record/record.ts";
import { countTraffic } from "../../../bench/throughput/count.ts";
import { throughputFigures } from "../../../bench/throughput/figures.ts";
import { measurementsOf } from "../../../bench/throughput/measurements.ts";
import { OfflineError, type OfflineRun, runOffline } from "../../../bench/throughput/offline.ts";
import { syntheticWorkload } from "../../../bench/throughput/synthetic.ts";
import { warningOf } from "../../../bench/throughput/table.ts";
import { loadModel } from "../../../models/load.ts";
import { createTokenizer } from "../../../server/tokenizer.ts";
import { runCli } from "../../support/cli.ts";

const folder = mkdtempSync(join(tmpdir(), "sparq-throughput-"));
afterAll(() => rmSync(folder, { recursive: true }));

const small = ["bench", "throughput", "--model", "tiny-llama", "--threads", "1"];

async function measure(name: string, ...args: string[]): Promise<BenchRecord> {
  const json = join(folder, `${name}.json`);
  const { exitCode, err } = await runCli([...small, ...args, "--json", json]);
  expect({ exitCode, err }).toMatchObject({ exitCode: 0 });
  return JSON.parse(readFileSync(json, "utf8")) as BenchRecord;
}

function figure({ measurements }: BenchRecord, name: string, labels: Measurement["labels"]): Measurement {
  const found = measurements.filter((measurement) => {
    return (
      measurement.name === name && Object.entries(labels).every(([key, value]) => measurement.labels[key] === value)
    );
  });
  expect(found).toHaveLength(1);
  return found[0]!;
}

describe("a run", { timeout: 300_000 }, () => {
  const sizes = ["--requests", "6", "--input-tokens", "300", "--output-tokens", "5", "--questions", "3"];
  const cases = ["--batch", "1,3", "--variants", "dense,sparq:1/4", "--rounds", "3"];

  it("has figures that agree with each other and with what was asked", async () => {
    const report = join(folder, "page.html");
    const record = await measure("documents", "--workload", "documents", ...sizes, ...cases, "--report", report);
    const { config } = await loadModel("tiny-llama");
    const settings = record.settings as { workloads: Record<string, unknown>[]; outputs: object };
    expect(settings.workloads).toMatchObject([
      { input: 300, documents: 2, promptTokens: 1800, outputTokens: 30, promptLengths: [300, 300] },
    ]);
    expect(Object.keys(settings.outputs)).toEqual(["input 300, dense", "input 300, sparq:1/4"]);
    for (const batch of [1, 3]) {
      for (const variant of ["dense", "sparq:1/4"]) {
        const of = (name: string) => figure(record, name, { variant, batch, input: 300 });
        for (const [round, seconds] of of("time").rounds.entries()) {
          const amount = (name: string) => of(name).rounds[round]! * seconds;
          expect(amount("requests")).toBeCloseTo(6, 3);
          expect(amount("prompt tokens")).toBeCloseTo(1800, 0);
          expect(amount("output tokens")).toBeCloseTo(30, 2);
          expect(amount("total tokens")).toBeCloseTo(1830, 0);
          // A step gives each sequence one token at the most, and the first of a prompt with several steps none.
          expect(of("steps").rounds[round]).toBeGreaterThanOrEqual(30 / batch);
          expect(of("step, 99th percentile").rounds[round]).toBeGreaterThanOrEqual(of("step").rounds[round]!);
        }
        // Four of six prompts find two pages of 128.
        expect(of("prefix cache hits").rounds).toEqual(
          [1, 2, 3].map(() => Number(((100 * 4 * 256) / 1800).toPrecision(6))),
        );
        expect(of("preemptions").value).toBe(0);
        const peak = of("peak cache use").value;
        if (batch === 1) expect(peak).toBe(3);
        else expect(peak).toBeGreaterThan(3);
        expect(peak).toBeLessThanOrEqual(3 * batch);
      }
      // In f16: 2 bytes a value, of K and of V.
      const visible = [301, 302, 303, 304].reduce((a, b) => a + b);
      const bytes = visible * config.layers * config.kvHeads * 2 * config.headDim * 2;
      const read = (variant: string) => figure(record, "KV read for an output token", { variant, batch }).value;
      expect(read("dense")).toBeCloseTo(bytes / 5, 0);
      expect(figure(record, "KV read against dense", { variant: "dense", batch }).value).toBe(1);
      const share = figure(record, "KV read against dense", { variant: "sparq:1/4", batch }).value;
      expect(share).toBeLessThan(1);
      expect(read("sparq:1/4")).toBeCloseTo(share * read("dense"), -1);
      const ratio = figure(record, "speed against the first variant", { variant: "sparq:1/4", batch });
      const speeds = ["sparq:1/4", "dense"].map((variant) => figure(record, "requests", { variant, batch }).rounds);
      for (const [round, value] of ratio.rounds.entries()) {
        expect(value).toBeCloseTo(speeds[0]![round]! / speeds[1]![round]!, 3);
      }
    }
    expect(throughputFigures(record).map(({ id }) => id)).toEqual(["output-by-batch", "ratio-by-batch"]);
    expect(readFileSync(report, "utf8")).toContain("Output tokens a second");
    for (const picture of ["output", "ratio"])
      expect(existsSync(join(folder, `page-${picture}-by-batch.svg`))).toBe(true);
  });

  it("gives the same answers when it is repeated, in several lengths", async () => {
    const args = ["--workload", "random", "--requests", "4", "--input-tokens", "20,60", "--output-tokens", "6"];
    const [first, second] = [
      await measure("first", ...args, "--variants", "dense,default", "--rounds", "1", "--batch", "2"),
      await measure("second", ...args, "--variants", "default", "--rounds", "2", "--batch", "1,4"),
    ];
    const outputs = first.settings.outputs as Record<string, string>;
    expect(second.settings.outputs).toEqual({
      "input 20, default": outputs["input 20, default"],
      "input 60, default": outputs["input 60, default"],
    });
    expect(Object.values(outputs).every((sha256) => /^[0-9a-f]{16}$/.test(sha256))).toBe(true);
    const ids = throughputFigures(first).map(({ id }) => id);
    expect(ids).toEqual(["output-by-input", "ratio-by-input", "bytes-by-input"]);
    expect(throughputFigures(second).map(({ id }) => id)).toEqual([
      ...["output-by-batch-input-20", "output-by-batch-input-60"],
      ...["output-by-input-batch-1", "output-by-input-batch-4", "bytes-by-input"],
    ]);
  });

  it("takes conversations of a file, and compares with a baseline", async () => {
    const data = join(folder, "talk.json");
    const turns = (i: number) => [
      `Tell me of the ${"very ".repeat(i)}old mill by the river.`,
      "It ground corn all day.",
    ];
    const list = [0, 1, 2].map((i) => ({ conversations: turns(i).map((value) => ({ from: "human", value })) }));
    writeFileSync(data, JSON.stringify(list));
    const args = [
      "--workload",
      "conversations",
      "--requests",
      "3",
      "--data",
      data,
      "--variants",
      "dense",
      "--batch",
      "2",
    ];
    const record = await measure("chat", ...args);
    expect(record.settings.workloads).toMatchObject([{ conversations: 3, tooLong: 0, tooShort: 0, oneTurn: 0 }]);
    const compared = await runCli([...small, ...args, "--baseline", join(folder, "chat.json")]);
    expect(compared.out).toMatch(/\| variant \| batch \| requests\/s \|.*against the baseline: \d of 6 figures/s);
  });
});

describe("what cannot be run", { timeout: 300_000 }, () => {
  it.each<[string, string[], number, RegExp]>([
    [
      "too long a prompt",
      ["--input-tokens", "9000"],
      1,
      /request 1 of 32 takes 9064 tokens \(9000 of its prompt.*4096/,
    ],
    [
      "a cache that is too small",
      ["--input-tokens", "1000", "--kv-cache-mb", "1"],
      1,
      /takes 1064 tokens.*the cache \(--kv-cache-mb\) holds \d+/,
    ],
    ["the graph without our attention", ["--variants", "dense,onnx"], 1, /variant onnx does not run in the engine/],
    ["an unknown variant", ["--variants", "sparse"], 1, /variant 'sparse' must begin with one of/],
    ["too few conversations", ["--workload", "conversations", "--requests", "99"], 1, /99 requests are wanted/],
    [
      "no baseline",
      ["--baseline", join(folder, "none.json")],
      2,
      /--baseline <file>' argument .*none\.json' is invalid/,
    ],
    ["an unknown workload", ["--workload", "sonnet"], 2, /Allowed choices are fixed, random/],
    ["a ratio of 1", ["--workload", "random", "--range-ratio", "1"], 2, /It must be a number from 0 to below 1/],
    ["a range of what is fixed", ["--range-ratio", "0.2"], 2, /--range-ratio goes with --workload random, not fixed/],
    ["questions without documents", ["--questions", "2"], 2, /--questions goes with --workload documents, not fixed/],
    ["nine questions", ["--workload", "documents", "--questions", "9"], 2, /It must be a whole number from 1 to 8/],
    [
      "lengths of conversations",
      ["--workload", "conversations", "--input-tokens", "9"],
      2,
      /--input-tokens goes with --workload fixed or random or documents, not conversations/,
    ],
    ["a batch that is never full", ["--requests", "7", "--batch", "1,8"], 2, /--batch 8 needs as many requests.*is 7/],
    ["a slowdown below 1", ["--prefill-slowdown", "0.5"], 2, /It must be a number from 1 to 1000, or 0 for no limit/],
  ])("%s", async (_, args, code, message) => {
    const { exitCode, out, err } = await runCli([...small, ...args]);
    expect({ exitCode, out }).toEqual({ exitCode: code, out: "" });
    expect(err).toMatch(message);
  });

  it("ends with code 130 when it is told to stop", async () => {
    expect(await runCli([...small], AbortSignal.abort())).toMatchObject({ exitCode: 130, out: "" });
  });
});

describe("the engine by itself", { timeout: 300_000 }, () => {
  async function open(blocks: number, maxPositions?: number) {
    const { config, graphPath, tokenizer } = await loadModel("tiny-llama");
    const session = await openSession({ graphPath, config, blocks, threads: 1 });
    return {
      session,
      config: { ...config, ...(maxPositions === undefined ? {} : { maxPositions }) },
      tokenizer: createTokenizer(tokenizer, config),
      batch: 4,
      prefillSlowdown: Number.POSITIVE_INFINITY,
      signal: new AbortController().signal,
      onRequest: () => {},
    };
  }
  const workloadOf = (model: Awaited<ReturnType<typeof open>>, inputTokens: number, outputTokens: number) =>
    syntheticWorkload(
      { requests: 4, inputTokens, outputTokens, rangeRatio: 0, seed: 1 },
      { tokenizer: model.tokenizer, vocabSize: model.config.vocabSize, contextLength: 4096 },
    );

  it("answers the same with a cache so small that requests lose their blocks", async () => {
    const roomy = await open(16);
    const cramped = await open(6);
    try {
      const workload = workloadOf(roomy, 100, 60);
      const variant = parseVariant("sparq:1/2");
      const alone = await runOffline(workload, variant, { ...roomy, batch: 1 });
      const counted = await countTraffic(workload, variant, roomy);
      const crowded = await runOffline(workload, variant, cramped);
      expect(crowded.preemptions).toBeGreaterThan(0);
      expect([alone.preemptions, counted.run.preemptions]).toEqual([0, 0]);
      expect([crowded.digest, counted.run.digest]).toEqual([alone.digest, alone.digest]);
      expect([alone.peakBlocks, counted.run.peakBlocks, crowded.blocks]).toEqual([2, 8, 6]);
      expect(counted.traffic.gatherBytes).toBeGreaterThan(0);
      expect(counted.traffic.denseBytes).toBe(0);
    } finally {
      roomy.session.close();
      cramped.session.close();
    }
  });

  it("fails when an answer is not as long as was asked for", async () => {
    const model = await open(8, 64);
    try {
      const running = runOffline(workloadOf(model, 60, 10), parseVariant("dense"), model);
      await expect(running).rejects.toThrow(OfflineError);
      await expect(running).rejects.toThrow(/request \d has 4 of 10 output tokens and ended by length/);
    } finally {
      model.session.close();
    }
  });
});

it("says when other programs had the processors", () => {
  const share = (value: number) => measured({ name: "processor time", labels: {}, unit: "%", better: null }, [value]);
  const record = recordOf({
    ...{ bench: "throughput", command: "", model: "", settings: {}, threads: 2, started: performance.now() },
    measurements: [share(75)],
  });
  expect(warningOf(record)).toBe("");
  expect(warningOf({ ...record, measurements: [share(95), share(40)] })).toMatch(/^warning: the threads got 40 % of /);
});

it("makes figures of runs", () => {
  const run = (seconds: number): OfflineRun => ({
    seconds,
    cpuSeconds: 1.5 * seconds,
    threads: 2,
    steps: [0.1, 0.2, 0.3].map((step) => ({ seconds: step, attentionSeconds: step / 2 })),
    promptTokens: 100,
    cachedPromptTokens: 25,
    outputTokens: 50,
    preemptions: 2,
    peakBlocks: 3,
    blocks: 12,
    digest: "",
  });
  const traffic = { scoreBytes: 100, gatherBytes: 200, denseBytes: 700, denseEquivalentBytes: 4000 };
  const runs = [run(1), run(2), run(4)];
  const given = { labels: { variant: "a", batch: 2 }, runs, traffic, reference: [run(2), run(2), run(2)] };
  const figures = measurementsOf(given, 10);
  expect(Object.fromEntries(figures.map(({ name, value }) => [name, value]))).toEqual({
    requests: 5,
    "total tokens": 75,
    "prompt tokens": 50,
    "output tokens": 25,
    time: 2,
    steps: 3,
    step: 200,
    "step, 99th percentile": 298,
    "time outside of steps": 70,
    "attention's part of steps": 50,
    "processor time": 75,
    "peak cache use": 3,
    "peak share of the cache": 25,
    "prefix cache hits": 25,
    preemptions: 2,
    "KV read for an output token": 20,
    "KV read against dense": 0.25,
    "speed against the first variant": 1,
  });
  expect(figures.at(-1)).toMatchObject({ rounds: [2, 1, 0.5], interval: [0.5, 2], better: "higher" });
  const first = measurementsOf({ ...given, traffic: { ...traffic, denseEquivalentBytes: 0 }, reference: null }, 10);
  expect(first.map(({ name }) => name)).not.toContain("speed against the first variant");
  expect(first.map(({ name }) => name)).not.toContain("KV read against dense");
});
