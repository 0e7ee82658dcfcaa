import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import type { CacheReport } from "../../bench/accuracy/cache/report.ts";
import { runCli } from "../support/cli.ts";
import { goldenPath } from "../support/golden.ts";
import { locateSmolLm2 } from "../support/smollm2.ts";

const folder = mkdtempSync(join(tmpdir(), "sparq-accuracy-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** docs/accuracy.md has figures of more text; the bounds are five times those or more. */
it("the default cache is as good as an f32 one, int8 and fp8 are near", async (context) => {
  const located = locateSmolLm2();
  if ("missing" in located) return context.skip(located.missing);
  const json = join(folder, "cache.json");
  const sizes = ["--windows", "1", "--context", "1200", "--rows", "64", "--groups", "dtype,cache"];
  const files = ["--text", goldenPath("prose.txt"), "--json", json];
  const { exitCode } = await runCli(["bench", "cache", "--model", located.path, ...sizes, ...files]);
  expect(exitCode).toBe(0);
  const { results } = JSON.parse(readFileSync(json, "utf8")) as CacheReport;
  const resultOf = (name: string) => results.find((result) => result.name === name)!;
  for (const [name, bound] of [
    ["dense, f16", 1e-5],
    ["dense, bf16", 3e-4],
    ["dense, int8", 4e-3],
    ["dense, fp8", 4e-2],
  ] as const) {
    expect(resultOf(name).againstDense.kl.mean, name).toBeLessThan(bound);
  }
  const byDefault = resultOf("f16, scan int8");
  expect(byDefault.againstSparq!.kl.mean).toBeLessThan(2e-4);
  // 1200 positions at r 16, k 256: a quarter of the int8 keys, a fifth of the positions.
  expect(byDefault.bytesOfDense).toBeLessThan(0.35);
});
