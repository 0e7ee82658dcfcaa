import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it, vi } from "vitest";
import { loadAddon } from "../../attention/binding.ts";
import { packSettings, SETTINGS_LENGTH } from "../../attention/pack.ts";
import type { AttentionSettings, KernelBenchOptions } from "../../attention/types.ts";
import { type Cell, familiesOf, type Kernel } from "../../bench/kernel/cases.ts";
import { lastLevelCache, layersOf, MemoryError } from "../../bench/kernel/layers.ts";
import type { Timed } from "../../bench/kernel/measure.ts";
import { formatReport, type KernelReport, resultsOf, withNaive } from "../../bench/kernel/report.ts";
import { runCli } from "../support/cli.ts";

const folder = mkdtempSync(join(tmpdir(), "sparq-kernel-"));
afterAll(() => rmSync(folder, { recursive: true }));

const sparq: AttentionSettings = {
  ...{ mode: "sparq", r: 16, k: 128, local: 32, meanValue: false, groupSum: "softmax" },
};

describe("arguments", () => {
  it.each<[string[], RegExp]>([
    [["--contexts", "2k"], /--contexts <list>' argument '2k' is invalid\. It must be whole numbers from 1 to 1048576/],
    [["--batch", "0"], /--batch <list>' argument '0' is invalid/],
    [["--shape", "gpt"], /--shape <list>' argument 'gpt' is invalid\. It must be of smollm2-135m, llama/],
    [["--shape", "llama,"], /--shape <list>' argument 'llama,' is invalid/],
    [["--rounds", "many"], /--rounds <n>' argument 'many' is invalid/],
    [["--threads", "0"], /--threads <n>' argument '0' is invalid/],
    [["--path", "sse2"], /--path <isa>' argument 'sse2' is invalid\. Allowed choices are avx512vnni, avx512, avx2/],
  ])("%j end with code 2", async (args, message) => {
    const { exitCode, out, err } = await runCli(["bench", "kernel", ...args]);
    expect({ exitCode, out }).toEqual({ exitCode: 2, out: "" });
    expect(err).toMatch(message);
  });

  it("names the paths that there are when one is asked for that is not", async () => {
    const available = vi.spyOn(loadAddon(), "availablePaths").mockReturnValue(["scalar"]);
    const { exitCode, err } = await runCli(["bench", "kernel", "--path", "avx2"]);
    available.mockRestore();
    expect({ exitCode, err }).toEqual({ exitCode: 1, err: "error: this processor has no avx2; it runs scalar\n" });
  });
});

it("stops with code 130 when it is told to", async () => {
  expect(await runCli(["bench", "kernel", "--contexts", "200"], AbortSignal.abort())).toMatchObject({ exitCode: 130 });
});

it("measures a small cache and writes every result", async () => {
  const json = join(folder, "kernel.json");
  const size = ["--contexts", "300", "--batch", "2", "--shape", "smollm2-135m", "--rounds", "1", "--threads", "1"];
  const { exitCode, out } = await runCli(["bench", "kernel", "--quick", ...size, "--json", json]);
  expect(exitCode).toBe(0);
  const report = JSON.parse(readFileSync(json, "utf8")) as KernelReport;
  expect(report).toMatchObject({
    machine: { threads: 1, path: loadAddon().defaultPath(), lastLevelCacheBytes: expect.any(Number) },
    readGBps: expect.any(Number),
    command: expect.stringMatching(/^sparq bench kernel --quick --contexts 300 --batch 2 --shape smollm2-135m/),
    skipped: [],
  });
  const names = report.results.map(({ kernel, dtype, scanDtype }) => `${kernel} ${dtype}/${scanDtype}`);
  expect(names).toEqual([
    ...["naive f32/f32", "dense f32/f32", "sparq f32/f32"],
    ...["dense bf16/int8", "sparq bf16/int8"],
  ]);
  for (const result of report.results) {
    const { kernel, us, bytes, GBps, vsDense, vsNaive, dtype } = result;
    expect(result).toMatchObject({ S: 300, batch: 2, kvHeads: 3, groupSize: 3, headDim: 64, rounds: 1 });
    expect(result).toMatchObject(kernel === "sparq" ? { r: 16, k: 128 } : { r: null, k: null });
    expect(us).toBeGreaterThan(0);
    expect(GBps).toBeCloseTo(bytes / us / 1000, 9);
    expect(vsNaive).toBeGreaterThan(0);
    if (kernel === "dense") expect(vsDense).toBe(1);
    if (kernel !== "sparq") expect(bytes).toBe(300 * 2 * 64 * (dtype === "f32" ? 4 : 2));
    else expect(bytes).toBeLessThan(300 * 2 * 64 * (dtype === "f32" ? 4 : 2));
  }
  expect(out.split("\n").filter((line) => /^\| (naive|dense|sparq) /.test(line))).toHaveLength(5);
});

describe("cases", () => {
  const everything = familiesOf({ context: 1024, batch: 1 }, false);
  const all = everything.flatMap((family) => family.flatMap(({ kernels }) => kernels));

  it("have one dense kernel for each dtype, in the first store", () => {
    expect(everything.map(([{ dtype }]) => dtype)).toEqual(["f32", "f16", "bf16", "int8", "fp8"]);
    for (const [first, ...others] of everything) {
      expect(first.kernels.filter(({ kernel }) => kernel === "dense")).toHaveLength(1);
      expect(others.flatMap(({ kernels }) => kernels).every(({ kernel }) => kernel === "sparq")).toBe(true);
      expect(others.every(({ dtype }) => dtype === first.dtype)).toBe(true);
    }
  });

  it("keep a quarter of k local", () => {
    for (const { settings } of all) expect(settings.local).toBe(settings.k / 4);
    expect(new Set(all.map(({ settings }) => settings.k))).toEqual(new Set([128, 256]));
  });

  it("leave the plain loop out where it takes too long", () => {
    const loops = (cell: Omit<Cell, "shape">, quick: boolean) =>
      familiesOf(cell, quick)
        .flatMap((family) => family.flatMap(({ kernels }) => kernels))
        .filter(isNaive).length;
    const isNaive = ({ kernel }: Kernel) => kernel === "naive";
    expect(loops({ context: 131072, batch: 1 }, false)).toBe(1);
    expect(loops({ context: 131072, batch: 8 }, false)).toBe(0);
    expect(loops({ context: 8192, batch: 1 }, true)).toBe(1);
    expect(loops({ context: 8192, batch: 8 }, true)).toBe(0);
  });
});

describe("layers", () => {
  const GB = 2 ** 30;

  it("make each store larger than the caches", () => {
    expect(layersOf([2 ** 20, 2 ** 28, 2 ** 29], 2 ** 25, 4 * GB)).toEqual({ counts: [256, 1, 1] });
    expect(layersOf([2 ** 20], 2 ** 27, 4 * GB)).toEqual({ counts: [512] });
  });

  it("are fewer where the memory is short, of every store", () => {
    const { counts, wanted } = layersOf([2 ** 26, 2 ** 25], 2 ** 27, GB + 2 ** 29);
    expect(wanted).toEqual([8, 16]);
    expect(counts).toEqual([4, 7]);
    expect(counts[0]! * 2 ** 26 + counts[1]! * 2 ** 25).toBeLessThanOrEqual(2 ** 29);
  });

  it("are refused with the numbers where not one fits", () => {
    expect(() => layersOf([3e9, 4e9], 1, 7e9)).toThrow(
      new MemoryError("needs 8.1 GB of memory for one layer, 7.0 GB are available"),
    );
  });

  it("follow the largest cache that the system names", () => {
    for (const [index, size] of ["48K", "32768K", "1024K"].entries()) {
      const path = join(folder, `index${index}`);
      mkdirSync(path);
      writeFileSync(join(path, "size"), `${size}\n`);
    }
    expect(lastLevelCache(folder)).toBe(2 ** 25);
    expect(lastLevelCache(join(folder, "nowhere"))).toBe(2 ** 25);
  });
});

describe("results", () => {
  const cell: Cell = { shape: "llama", context: 1000, batch: 2 };
  const store = { dtype: "bf16", scanDtype: "int8", kernels: [] } as const;
  const timed = (kernel: Kernel["kernel"], seconds: readonly number[], bytes: number): Timed => ({
    ...{ kernel: { kernel, settings: sparq }, store, layers: 4, units: 64, bytes, seconds },
  });
  const family = [timed("dense", [3, 1, 2], 64e9), timed("sparq", [0.5], 6.4e9), timed("naive", [8], 64e9)];

  it("are for each layer, head and sequence, beside the dense kernel of the family", () => {
    const [dense, fast] = resultsOf(cell, family, 40);
    expect(dense).toMatchObject({ us: 2e6 / 64, leastUs: 1e6 / 64, bytes: 1e9, GBps: 32, vsDense: 1, readGBps: 40 });
    expect(fast).toMatchObject({ us: 5e5 / 64, bytes: 1e8, GBps: 12.8, vsDense: 4, vsNaive: null, r: 16, k: 128 });
  });

  it("have a ratio to the plain loop once it is known", () => {
    const results = resultsOf(cell, family, 40);
    expect(withNaive(results).map(({ vsNaive }) => vsNaive)).toEqual([4, 16, 1]);
    expect(withNaive(results.slice(0, 2)).map(({ vsNaive }) => vsNaive)).toEqual([null, null]);
  });

  it("stand in a table of their cell", () => {
    const machine = { cpu: "a processor", threads: 2, path: "avx2" };
    const report = { machine, readGBps: 40, readGBpsRange: [30, 50], results: resultsOf(cell, family, 40) };
    const lines = formatReport(report as unknown as KernelReport).split("\n");
    expect(lines[0]).toBe("a processor, avx2, 2 threads; memory read at 40.0 GB/s (30.0 to 50.0)");
    expect(lines).toContain("llama: 8 KV heads x 4, head size 128; S 1000, batch 2");
    expect(lines).toContain("| sparq r 16 k 128 | bf16, scan int8 | 7813 | 100000 | 12.8 | 32 % | 4.00x |  |");
  });
});

describe("the native bench", () => {
  const addon = loadAddon();
  const options: KernelBenchOptions = {
    ...{ path: addon.defaultPath(), threads: 1, layers: 1, kvHeads: 2, groupSize: 2, headDim: 32, blockSize: 64 },
    ...{ dtype: "f16", scanDtype: "int8", context: 200, batch: 1 },
  };
  const packed = (changes: Partial<AttentionSettings> = {}) =>
    Int32Array.from(packSettings({ attention: { ...sparq, ...changes }, denseUntil: 0 }));

  it("takes the memory of its store and gives it back", () => {
    const bench = addon.createKernelBench(options);
    const { layers, kvHeads, headDim, blockSize } = options;
    const shape = { layers, kvHeads, headDim, blockSize, dtype: "f16", scanDtype: "int8" } as const;
    expect(bench.bytes).toBe(addon.createKvStore({ ...shape, blocks: 4 }).bytes);
    expect(bench.run(packed(), false, false)).toBeGreaterThan(0);
    expect(bench.traffic(packed({ mode: "dense" })).denseBytes).toBe(2 * 200 * 2 * 32 * 2);
    bench.close();
    expect(() => bench.run(packed(), false, false)).toThrow("the kernel bench is closed");
  });

  it("refuses what it cannot run", () => {
    const create = (changes: object) => () => addon.createKernelBench({ ...options, ...changes });
    expect(create({ path: "mmx" })).toThrow(/path must be one of .*scalar/);
    expect(create({ context: 0 })).toThrow("context is 0, must be an integer from 1 to 2147483647");
    expect(create({ groupSize: 1.5 })).toThrow("groupSize is 1.5, must be an integer from 1 to 4096");
    expect(create({ blockSize: 80 })).toThrow(/blockSize is 80, must be a multiple of 64/);
    expect(create({ dtype: "f64" })).toThrow("dtype is f64, must be one of f32, f16, bf16, int8, fp8");
    const bench = addon.createKernelBench(options);
    expect(() => bench.run(packed({ r: 33 }), false, false)).toThrow("r is 33, must be 1 to 32");
    expect(() => bench.run(packed(), true, false)).toThrow("the naive loop reads f32, the store is f16");
    expect(() => bench.traffic(new Int32Array(7))).toThrow(`settings has 7 values, expected ${SETTINGS_LENGTH}`);
    bench.close();
  });
});
