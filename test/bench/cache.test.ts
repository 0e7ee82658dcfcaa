import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { bucketsOf, expectedRecall } from "../../bench/accuracy/bucket-recall.ts";
import type { CacheReport } from "../../bench/accuracy/cache/report.ts";
import { ComparisonTally, distributionsOf, estimate, meanSurprise } from "../../bench/accuracy/cache/tally.ts";
import { denseReference, variantsOf } from "../../bench/accuracy/cache/variants.ts";
import { windowsOf } from "../../bench/accuracy/cache/windows.ts";
import { runCli } from "../support/cli.ts";
import { goldenPath } from "../support/golden.ts";

const folder = mkdtempSync(join(tmpdir(), "sparq-bench-cache-"));
afterAll(() => rmSync(folder, { recursive: true }));

describe("windows", () => {
  const tokens = Array.from({ length: 100 }, (_, i) => i);

  it("go from the text's beginning to its end, each with the token after it", () => {
    const windows = windowsOf("a.txt", tokens, 3, 9);
    expect(windows.map((window) => window.tokens[0])).toEqual([0, 45, 90]);
    expect(windows.map((window) => window.tokens.length)).toEqual([10, 10, 10]);
    expect(windowsOf("a.txt", tokens, 1, 99)[0]!.tokens).toEqual(tokens);
  });

  it("do not overlap, or the text is too short", () => {
    expect(windowsOf("a.txt", tokens, 10, 9).map((window) => window.tokens[0])).toEqual([
      0, 10, 20, 30, 40, 50, 60, 70, 80, 90,
    ]);
    expect(() => windowsOf("a.txt", tokens, 11, 9)).toThrow("a.txt has 100 tokens; 11 windows of 10 need 110");
  });
});

describe("expected recall of bucketed top-k", () => {
  // Table of arXiv 2412.04358 at k = 128, by what the buckets keep together over k.
  it.each([
    [1, [0.634, 0.788, 0.886, 0.941]],
    [2, [0.732, 0.898, 0.968, 0.991]],
    [4, [0.808, 0.964, 0.996, 1.0]],
  ])("with %i of each", (perBucket, row) => {
    for (const [i, stated] of row.entries()) {
      expect(expectedRecall(128, perBucket, (2 ** i * 128) / perBucket)).toBeCloseTo(stated, 2);
    }
  });

  it("is all where a bucket keeps k", () => {
    expect(expectedRecall(4, 4, 16)).toBe(1);
  });

  it("is of as many buckets as the kernels have", () => {
    expect([bucketsOf(192, 1), bucketsOf(192, 4), bucketsOf(190, 2), bucketsOf(1, 1)]).toEqual([192, 48, 96, 16]);
  });
});

describe("a comparison", () => {
  const rows = (...logits: readonly number[][]) => distributionsOf(Float32Array.from(logits.flat()), 2);
  const even = [0, 0];
  const lean = [Math.log(3), 0]; // 3/4, 1/4
  const other = [0, Math.log(3)];

  it("is a mean over windows, with its standard error", () => {
    const tally = new ComparisonTally();
    tally.add(rows(lean, lean), rows(lean, other));
    tally.add(rows(lean, lean), rows(lean, lean));
    const kl = 0.5 * Math.log(3); // of lean from other
    const { kl: found, klMax, agreement } = tally.result();
    expect(klMax).toBeCloseTo(kl, 6);
    expect(found.mean).toBeCloseTo(kl / 4, 6);
    expect(found.standardError).toBeCloseTo(kl / 4, 6);
    expect(agreement).toEqual({ mean: 0.75, standardError: 0.25 });
  });

  it("of one window has no error to state", () => {
    expect(estimate([3])).toEqual({ mean: 3, standardError: null });
  });

  it("costs tokens in nats", () => {
    expect(meanSurprise(rows(even, lean), [0, 1])).toBeCloseTo((Math.log(2) + Math.log(4)) / 2, 6);
  });

  it("refuses logits that are not finite", () => {
    expect(() => rows(even, [Number.NaN, 0])).toThrow("row 1 has logits that are not finite");
    expect(() => rows([Number.POSITIVE_INFINITY, 0])).toThrow("row 0 has logits that are not finite");
  });
});

describe("variants", () => {
  const config = { heads: 4, kvHeads: 4, headDim: 16 } as Parameters<typeof variantsOf>[0];

  it("are those that make sense for the model and the context", () => {
    const names = variantsOf(config, 129, ["rk", "rules"]).map(({ name }) => name);
    expect(names).toEqual(["r 8, k 64", "r 8, k 128", "r 16, k 64", "r 16, k 128", "mean value off"]);
  });

  it("are compared with exact dense attention", () => {
    expect(denseReference(config)).toMatchObject({ layout: { dtype: "f32" }, attention: { mode: "dense" } });
  });
});

describe("sparq bench cache", () => {
  const run = (...args: string[]) =>
    runCli(["bench", "cache", "--model", "tiny-llama", "--threads", "1", "--text", goldenPath("prose.txt"), ...args]);

  it("measures a built-in model", async () => {
    const json = join(folder, "cache.json");
    // The rows begin in the middle of a page, and are more than k = 256 positions in.
    const sizes = ["--windows", "2", "--context", "300", "--rows", "20"];
    const { exitCode, out, err } = await run(...sizes, "--groups", "dtype,scan,buckets", "--json", json);
    expect({ exitCode, err }).toEqual({ exitCode: 0, err: "1 of 2 windows\n2 of 2 windows\n" });
    expect(out).toMatch(/Dense attention by cache dtype.*\| dense, fp8 \|.*recall 0\.\d{3}/s);
    const report = JSON.parse(readFileSync(json, "utf8")) as CacheReport;
    expect(report).toMatchObject({
      model: "tiny-llama",
      windows: 2,
      context: 300,
      rows: 20,
      texts: [{ name: "prose.txt" }],
    });
    const kl = new Map(report.results.map(({ name, againstDense }) => [name, againstDense.kl.mean]));
    expect(kl.get("dense, f32")).toBe(0);
    // What is kept more coarsely is further off.
    const order = ["dense, f16", "dense, bf16", "dense, int8", "dense, fp8"].map((name) => kl.get(name)!);
    expect(order[0]).toBeGreaterThan(0);
    expect([...order].sort((a, b) => a - b)).toEqual(order);
    const scan = report.results.find(({ name }) => name === "scan f32")!;
    expect(scan.againstSparq).toMatchObject({ kl: { mean: 0 }, agreement: { mean: 1 } });
    expect(scan.againstDense.kl.mean).toBeGreaterThan(0);
    const f16 = report.results.find(({ name }) => name === "dense, f16")!;
    expect(f16).toMatchObject({ bytesOfReference: 0.5, bytesOfDense: 1, againstSparq: null });
  });

  it.each<[string[], RegExp]>([
    [["--context", "4097"], /--context .*4096 positions/],
    [["--context", "100", "--rows", "100"], /--rows \(or SPARQ_ROWS\) must be below the context, which is 100/],
    [["--groups", "dtype,size"], /--groups <list>' argument 'dtype,size' is invalid\. It must be of dtype, scan/],
  ])("%j ends with code 2", async (args, message) => {
    const { exitCode, out, err } = await run(...args);
    expect({ exitCode, out }).toEqual({ exitCode: 2, out: "" });
    expect(err).toMatch(message);
  });

  it("needs a text", async () => {
    const { exitCode, err } = await runCli(["bench", "cache"]);
    expect(exitCode).toBe(2);
    expect(err).toMatch(/required option '--text <file>'/);
  });
});
