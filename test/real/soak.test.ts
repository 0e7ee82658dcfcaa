import { expect, it } from "vitest";
import { soak } from "../../bench/soak/run.ts";

it("a server under clients that come and go answers each as if alone, and gives everything back", async () => {
  const options = { model: "tiny-llama", minutes: 0.3, clients: 64, seed: 7, kvCacheMb: 8, verify: 60 };
  const report = await soak(options, () => {});
  expect(report.problems).toEqual([]);
  expect(report.exitCode).toBe(0);
  // What is proven only if it happened.
  expect(report.counts.answered).toBeGreaterThan(20);
  expect(report.counts.left).toBeGreaterThan(5);
  expect(report.requests.verified).toBeGreaterThan(20);
});
