import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import { kernelFaults } from "../../../attention/types.ts";
import { compareWithBaseline } from "../../../bench/eval/gate.ts";
import { resultOf } from "../../../bench/eval/results.ts";
import type { EvalReport } from "../../../bench/eval/types.ts";
import { runCli } from "../../support/cli.ts";

const folder = mkdtempSync(join(tmpdir(), "sparq-eval-gate-"));
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(() => {
  vi.unstubAllEnvs();
});

const traffic = { scoreBytes: 10, gatherBytes: 10, denseBytes: 0, denseEquivalentBytes: 100 };

/** A report of one set in one variant. */
function reportOf(
  values: readonly number[],
  { better = "higher" as "higher" | "lower", bytes = traffic, sha256 = "a" } = {},
) {
  const task = { name: "squad", metric: "match", better };
  const set = { task: "squad", tokens: null, n: values.length, promptTokens: 9, data: "sample", sha256 };
  const results = [resultOf(task, "sparq:1/8", null, values, { traffic: bytes })];
  return { version: 1, sets: [set], results } as unknown as EvalReport;
}

const ones = (right: number, n = 20) => Array.from({ length: n }, (_, i) => Number(i < right));

describe("a report beside its baseline", () => {
  const baseline = reportOf(ones(15));

  it("passes if it is equal, or better, or a few items fall as others rise", () => {
    expect(compareWithBaseline(baseline, baseline)).toEqual([]);
    expect(compareWithBaseline(reportOf(ones(20)), baseline)).toEqual([]);
    // Two fall, one rises: -1/20 with a paired error of 0.088.
    const other = ones(15).map((value, i) => (i < 2 || i === 19 ? 1 - value : value));
    expect(compareWithBaseline(reportOf(other), baseline)).toEqual([]);
  });

  it("fails if values fall by more than their paired error, with the numbers", () => {
    // Six fall: 0.3, of which the paired error is sqrt(0.3 * 0.7 / 19) = 0.105.
    expect(compareWithBaseline(reportOf(ones(9)), baseline)).toEqual([
      "squad, sparq:1/8: match fell from 0.75 to 0.45 over 20 items; paired by item by 0.3, where 0.21 is allowed",
    ]);
  });

  it("knows which way is better", () => {
    const low = reportOf([1, 1.1, 1.2], { better: "lower" });
    expect(compareWithBaseline(reportOf([0.5, 0.6, 0.7], { better: "lower" }), low)).toEqual([]);
    expect(compareWithBaseline(reportOf([1.04, 1.14, 1.24], { better: "lower" }), low)).toEqual([]); // 4 %
    expect(compareWithBaseline(reportOf([1.1, 1.2, 1.3], { better: "lower" }), low)).toEqual([
      "squad, sparq:1/8: match rose from 1.1 to 1.2 over 3 items; paired by item by 0.1, where 0.055 is allowed",
    ]);
  });

  it("fails if more is read, though all is right", () => {
    const bytes = { ...traffic, gatherBytes: 15 };
    expect(compareWithBaseline(reportOf(ones(15), { bytes }), baseline)).toEqual([
      "squad, sparq:1/8: it reads 0.25 of dense attention's bytes, 0.2 before",
    ]);
  });

  it("fails if anything is missing, or other items were asked", () => {
    const none = { ...baseline, results: [] };
    expect(compareWithBaseline(none, baseline)).toEqual(["squad, sparq:1/8: match was not measured"]);
    expect(compareWithBaseline({ ...baseline, sets: [] }, baseline)).toEqual(["squad: it was not run"]);
    const other = reportOf(ones(15), { sha256: "b" });
    expect(compareWithBaseline(other, baseline)).toEqual(["squad: its items are not those of the baseline"]);
  });

  it("leaves alone what a rounding decides", () => {
    const rename = (report: EvalReport) => ({
      ...report,
      results: report.results.map((result) => ({ ...result, metric: "largest KL" })),
    });
    expect(compareWithBaseline(rename(reportOf(ones(0))), rename(baseline))).toEqual([]);
  });

  it("fails if a value is no number", () => {
    const broken = { ...baseline, results: [{ ...baseline.results[0]!, items: ones(15).map(() => Number.NaN) }] };
    expect(compareWithBaseline(broken, baseline)[0]).toMatch(/match fell from 0\.75/);
  });
});

const committed = (model: string) => join("bench", "eval", "baselines", `${model}.json`);

/** A part of a baseline: what notices each fault, and is quick. */
function partOf(model: string): string {
  const baseline = JSON.parse(readFileSync(committed(model), "utf8")) as EvalReport;
  const sets = baseline.sets.filter(({ task }) => task === "agreement");
  const results = baseline.results.filter(({ task, variant }) => task === "agreement" && variant.includes("mean=on"));
  const path = join(folder, `${model}.json`);
  writeFileSync(path, JSON.stringify({ ...baseline, sets, results }));
  return path;
}

describe("sparq eval --gate", { timeout: 300_000 }, () => {
  it.each(["tiny-llama", "tiny-pythia"])("holds for %s", async (model) => {
    const { exitCode, out, err } = await runCli(["eval", "--gate", committed(model)]);
    expect(err).not.toContain("allowed");
    expect({ exitCode, last: out.trimEnd().split("\n").at(-1) }).toEqual({
      exitCode: 0,
      last: `nothing is worse than in ${committed(model)}`,
    });
  });

  it.each(kernelFaults)("notices a kernel with fault %s", async (fault) => {
    vi.spyOn(console, "error").mockReturnValue();
    vi.stubEnv("SPARQ_FAULT", fault);
    const { exitCode, out, err } = await runCli(["eval", "--gate", partOf("tiny-llama")]);
    expect(exitCode).toBe(1);
    expect(err).toMatch(
      /^agreement at 1280 tokens, sparq:1\/8,mean=on,.*: KL rose from [\d.]+ to [\d.]+ over 6 items; paired/m,
    );
    expect(out).toMatch(/\d values are worse than in .*tiny-llama\.json\n$/);
  });

  it.each<[string, string, RegExp]>([
    ["none.json", "{}", /none\.json has no version: it is no report of sparq eval/],
    ["new.json", `{"version": 2}`, /new\.json has version 2; this sparq knows version 1/],
    ["text.json", "oh", /text\.json is not JSON/],
    [
      "cut.json",
      `{"version":1,"model":"m","sets":[],"results":[{"task":"a","variant":"b","metric":"c","n":2,"items":[1]}]}`,
      /cut\.json, results\[0\] must have 2 items/,
    ],
    [
      "task.json",
      `{"version":1,"model":"m","settings":{},"sets":[{"task":"glue","data":"sample"}],"results":[]}`,
      /task\.json has task glue, which there is not/,
    ],
    [
      "data.json",
      `{"version":1,"model":"m","settings":{},"sets":[{"task":"squad","data":"dev.json"}],"results":[]}`,
      /data\.json has squad on dev\.json: name it with --data squad=FILE/,
    ],
  ])("refuses %s", async (name, content, message) => {
    writeFileSync(join(folder, name), content);
    const { exitCode, err } = await runCli(["eval", "--gate", join(folder, name)]);
    expect(exitCode).toBe(1);
    expect(err).toMatch(message);
  });
});
