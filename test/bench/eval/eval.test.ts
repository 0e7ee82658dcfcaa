import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { tasks } from "../../../bench/eval/tasks/index.ts";
import type { EvalReport } from "../../../bench/eval/types.ts";
import { runCli } from "../../support/cli.ts";

const folder = mkdtempSync(join(tmpdir(), "sparq-eval-"));
afterAll(() => rmSync(folder, { recursive: true }));

async function evaluate(name: string, ...args: string[]): Promise<EvalReport & { out: string; err: string }> {
  const json = join(folder, `${name}.json`);
  const { exitCode, out, err } = await runCli(["eval", "--threads", "1", ...args, "--json", json]);
  expect({ exitCode, err }).toMatchObject({ exitCode: 0 });
  return { ...(JSON.parse(readFileSync(json, "utf8")) as EvalReport), out, err };
}

const resultOf = (report: EvalReport, variant: string) => report.results.find((result) => result.variant === variant)!;

describe("sparq eval", { timeout: 300_000 }, () => {
  it("shows on a built-in model what a window loses and SparQ keeps, and what each reads", async () => {
    const variants = ["dense", "sparq:1/4", "window:1/4"];
    const report = await evaluate("recall", "--tasks", "recall", "--n", "8", "--variants", variants.join());
    expect(report.err).toBe("recall\n");
    expect(report).toMatchObject({
      version: 1,
      model: "tiny-llama",
      machine: { threads: 1 },
      settings: { n: 8, seed: 1, question: "variant", prompts: "plain" },
      sets: [{ task: "recall", tokens: null, n: 8, promptTokens: 2048, data: "sample" }],
    });
    expect(report.command).toMatch(/^sparq eval .*--variants dense,sparq:1\/4,window:1\/4/);
    expect(report.results.map(({ variant }) => variant)).toEqual(variants);
    const [dense, sparq, window] = variants.map((variant) => resultOf(report, variant));
    expect(dense).toMatchObject({ task: "recall", metric: "exact", n: 8, bytesRatio: 1, sparseBytesRatio: null });
    expect(dense!.value).toBeGreaterThan(0.8);
    expect(sparq!.value).toBeGreaterThan(window!.value + 0.3);
    // A quarter nominally; the int8 scan halves its half of that, a page's own rows are scanned as they are.
    expect(sparq!.bytesRatio).toBeGreaterThan(0.15);
    expect(sparq!.bytesRatio).toBeLessThan(0.25);
    for (const { items, value, stderr } of report.results) {
      expect(items.reduce((sum, item) => sum + item, 0) / 8).toBeCloseTo(value, 5);
      expect(stderr).toBeCloseTo(Math.sqrt((value * (1 - value)) / 7), 4);
    }
    expect(report.out).toMatch(/tiny-llama, recall \(sample\): 8 items, 2048 tokens each; exact\n\n.*\| dense \| /s);
  });

  it("gives the same results again, however many items are under way", async () => {
    const sizes = ["--tasks", "squad,wikitext", "--n", "3", "--tokens", "700", "--variants", "dense,sparq:1/8"];
    const first = await evaluate("first", ...sizes, "--batch", "3");
    const second = await evaluate("second", ...sizes, "--batch", "1");
    const values = ({ results }: EvalReport) => results.map(({ variant, items }) => ({ variant, items }));
    expect(values(second)).toEqual(values(first));
    for (const [i, { bytesRatio }] of first.results.entries()) {
      // A step more may run before a request whose answer is settled is taken back.
      expect(bytesRatio).toBeCloseTo(second.results[i]!.bytesRatio!, 2);
    }
    expect(second.sets).toEqual(first.sets);
  });

  it("runs variants with caches of their own, and lengths", async () => {
    const variants = "dense,dense:cache=f32,sparq:r=8,k=64,cache=bf16,scan=f32";
    const report = await evaluate(
      "layouts",
      "--tasks",
      "ppl",
      "--n",
      "2",
      "--tokens",
      "300,600",
      "--variants",
      variants,
    );
    expect(report.sets.map(({ tokens }) => tokens)).toEqual([300, 600]);
    const [f16, f32, sparq] = report.results.filter(({ tokens }) => tokens === 600);
    expect(f16!.value).not.toBe(f32!.value);
    expect(f16!.value / f32!.value).toBeCloseTo(1, 2);
    expect(Math.abs(sparq!.value / f32!.value - 1)).toBeGreaterThan(1e-3);
    expect(sparq!.sparseBytesRatio).toBeLessThan(0.4);
  });

  it("goes on with what a file of results holds, for the same items", async () => {
    const json = join(folder, "resume.json");
    const sizes = ["--tasks", "recall", "--n", "2", "--tokens", "300", "--variants", "dense", "--json", json];
    const run = (...more: string[]) => runCli(["eval", "--threads", "1", ...sizes, ...more]);
    await run();
    const first = JSON.parse(readFileSync(json, "utf8")) as EvalReport;
    // Not what the model would come to.
    const marked = { ...first, results: first.results.map((result) => ({ ...result, value: 0.123 })) };
    writeFileSync(json, JSON.stringify(marked));
    await run("--resume", "--tokens", "300,400");
    const second = JSON.parse(readFileSync(json, "utf8")) as EvalReport;
    expect(second.results.map(({ tokens, value }) => [tokens, value === 0.123])).toEqual([
      [300, true],
      [400, false],
    ]);
    await run("--resume", "--seed", "2");
    expect((JSON.parse(readFileSync(json, "utf8")) as EvalReport).results[0]!.value).not.toBe(0.123);
    expect(await runCli(["eval", "--resume"])).toMatchObject({
      exitCode: 2,
      err: expect.stringContaining("--resume (or SPARQ_RESUME) goes with --json, the file to go on with"),
    });
  });

  it("reads questions densely when told to, as a server does", async () => {
    const sizes = ["--tasks", "needle", "--tokens", "1500", "--n", "6", "--variants", "window:1/8"];
    const [own] = (await evaluate("own", ...sizes)).results;
    const [served] = (await evaluate("served", ...sizes, "--question", "dense")).results;
    expect(served!.value).toBeGreaterThan(own!.value);
  });

  it.each<[string[], RegExp]>([
    [["--tasks", "squad,glue"], /--tasks \(or SPARQ_TASKS\) must name tasks of squad, .*, not 'glue'/],
    [["--data", "squad"], /It must be a task and its file, as in squad=dev-v1\.1\.json/],
    [["--data", "glue=x.json"], /--data .*must name tasks of squad/],
    [["--variants", "dense,spark:1/4"], /--variants .*is wrong: variant 'spark:1\/4' must begin with one of dense/],
    [["--n", "0"], /--n <n>' argument '0' is invalid/],
  ])("%j ends with code 2", async (args, message) => {
    const { exitCode, out, err } = await runCli(["eval", ...args]);
    expect({ exitCode, out }).toEqual({ exitCode: 2, out: "" });
    expect(err).toMatch(message);
  });

  it.each<[string[], RegExp]>([
    // A file for any task.
    ...[...tasks.keys()].map((name): [string[], RegExp] => [
      ["--tasks", name, "--data", `${name}=/nowhere/data`],
      /error: \/nowhere\/data: ENOENT/,
    ]),
    [["--tasks", "ppl", "--n", "1", "--tokens", "4096"], /a passage has \d+ tokens, the model has 4096 positions/],
    [
      ["--tasks", "recall", "--n", "1", "--variants", "sparq:r=64,k=9"],
      /variant sparq:r=64,k=9: r is 64, over the head size 32/,
    ],
  ])("%j ends with code 1", async (args, message) => {
    const { exitCode, err } = await runCli(["eval", "--threads", "1", ...args]);
    expect(exitCode).toBe(1);
    expect(err).toMatch(message);
  });
});
