import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it, vi } from "vitest";
import { loadAddon } from "../../../attention/binding.ts";
import type { BenchRecord } from "../../../bench/record/record.ts";
import { SPEEDUP } from "../../../bench/sweep/crossover.ts";
import { Figures } from "../../../bench/sweep/lookup.ts";
import { names } from "../../../bench/sweep/measurements.ts";
import { parts } from "../../../bench/sweep/parts.ts";
import { runCli } from "../../support/cli.ts";

const folder = mkdtempSync(join(tmpdir(), "sparq-sweep-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Measuring it takes longer than all the steps. */
const BANDWIDTH = 2e10;
vi.spyOn(loadAddon(), "readBandwidth").mockReturnValue(BANDWIDTH);

const tiny = ["--model", "tiny-llama", "--threads", "1", "--rounds", "3", "--round-ms", "1"];

it("measures cells of a built-in model, and draws them", async () => {
  const [json, report] = [join(folder, "sweep.json"), join(folder, "sweep.html")];
  const sizes = ["--context", "200,3200", "--batch", "1,2", "--variants", "dense,default,sparq:1/4"];
  const run = await runCli(["bench", "sweep", ...tiny, ...sizes, "--json", json, "--report", report]);
  // Each round goes over all cells.
  const cells = ["context 200, batch 1", "context 3200, batch 1", "context 200, batch 2", "context 3200, batch 2"];
  expect(run.err.match(/^round.*$/gm)).toEqual(
    [1, 2, 3].flatMap((round) => cells.map((cell, i) => `round ${round} of 3: ${cell} (${i + 1} of 4)`)),
  );
  expect(run.exitCode).toBe(0);

  const record = JSON.parse(readFileSync(json, "utf8")) as BenchRecord;
  expect(record).toMatchObject({ bench: "sweep", model: "tiny-llama", machine: { threads: 1 } });
  expect(record.settings).toMatchObject({
    rounds: 3,
    prefilled: 2048,
    attention: { dense: { 200: "dense" }, default: { 200: "dense below 3072", 3200: "sparq r 8 k 512" } },
  });
  const figures = new Figures(record.measurements);
  expect(figures.variants).toEqual(["dense", "default", "sparq:1/4"]);
  expect(figures.cells).toHaveLength(4);
  for (const cell of figures.cells) {
    const bytes = figures.variants.map((variant) => figures.of(names.cacheBytes, { variant, ...cell })!.value);
    expect(bytes[1]! < bytes[0]!).toBe(cell.context === 3200);
    expect(bytes[2]!).toBeLessThan(bytes[0]!);
    for (const variant of figures.variants) {
      const labels = { variant, ...cell };
      const step = figures.of(names.step, labels)!;
      expect(step.rounds).toHaveLength(3);
      expect(figures.of(names.tokens, labels)!.value).toBeCloseTo((1000 * cell.batch) / step.value, 1);
      const read = figures.of(names.cacheBytes, labels)!.value + (record.settings.weightBytes as number);
      const least = figures.of(names.least, labels)!;
      expect(least.value).toBeCloseTo((1000 * read) / BANDWIDTH, 4);
      expect(figures.of(names.overLeast, labels)!.rounds[0]).toBeCloseTo(step.rounds[0]! / least.value, 2);
      // Parts of each round's step are that step.
      for (const [round, ms] of step.rounds.entries()) {
        const sum = parts.reduce(
          (all, part) => all + (figures.of(names.part, { ...labels, part })?.rounds[round] ?? 0),
          0,
        );
        expect(sum / ms).toBeCloseTo(1, 4);
      }
      const ratio = figures.of(SPEEDUP, labels);
      const dense = figures.of(names.step, { ...labels, variant: "dense" })!;
      if (variant === "dense") expect(ratio).toBeUndefined();
      else expect(ratio!.rounds[1]).toBeCloseTo(dense.rounds[1]! / step.rounds[1]!, 3);
    }
  }
  const withScan = figures.of(names.part, { variant: "default", context: 3200, batch: 1, part: "score pass" });
  expect(withScan!.value).toBeGreaterThan(0);
  expect(figures.of(names.part, { variant: "default", context: 200, batch: 1, part: "score pass" })).toBeUndefined();

  expect(run.out).toMatch(/\| 1 \| 3200 \| default \| sparq r 8 k 512 \|/);
  expect(run.out.match(/^\| [12] \| (default|sparq:1\/4) \| (faster from|no crossover up to 3200)/gm)).toHaveLength(4);
  const pictures = readdirSync(folder).filter((name) => name.endsWith(".svg"));
  expect(pictures.sort()).toEqual(
    [
      ...[
        "bytes",
        "faster-batch-1",
        "faster-batch-2",
        "split-batch-1",
        "split-batch-2",
        "time-batch-1",
        "time-batch-2",
      ],
      ...["tokens-context-200", "tokens-context-3200"],
    ].map((name) => `sweep-${name}.svg`),
  );
});

it("leaves out what does not fit, and says how much that is", async () => {
  const free = vi.spyOn(process, "availableMemory").mockReturnValue(2 ** 30 + 2 ** 28);
  const json = join(folder, "short.json");
  const sizes = ["--context", "128,1000000", "--batch", "1", "--variants", "dense"];
  const { exitCode, err } = await runCli(["bench", "sweep", ...tiny, ...sizes, "--json", json]);
  const tooLong = await runCli(["bench", "sweep", ...tiny, "--context", "1000000", "--batch", "4"]);
  free.mockRestore();
  expect(exitCode).toBe(0);
  expect(err).toMatch(/context 1000000, batch 1: left out: needs \d+\.\d GB of memory, 1\.3 GB are available/);
  const { skipped } = JSON.parse(readFileSync(json, "utf8")) as BenchRecord;
  expect(skipped.map(({ what }) => what)).toEqual(["context 1000000, batch 1"]);
  expect(tooLong).toMatchObject({ exitCode: 1, err: expect.stringContaining("not one of the contexts") });
});

describe("variants", () => {
  it.each([
    ["default,sparq:1/8", /--variants .* must have dense: the others are compared with it, not 'default,sparq:1\/8'/],
    ["dense,sparq", /--variants .* is wrong: variant sparq needs a ratio/],
    ["dense,h2o:1/4", /must do without h2o, which needs a session of its own/],
    ["dense,default:cache=f32", /must share a cache, but default:cache=f32 names its own/],
  ])("%s end with code 2", async (variants, message) => {
    const { exitCode, err } = await runCli(["bench", "sweep", ...tiny, "--variants", variants]);
    expect({ exitCode, err }).toEqual({ exitCode: 2, err: expect.stringMatching(message) });
  });
});

it("stops with code 130 when it is told to", async () => {
  const sizes = ["--context", "128", "--batch", "1"];
  const run = await runCli(["bench", "sweep", ...tiny, ...sizes], AbortSignal.abort());
  expect(run.exitCode).toBe(130);
});
