import { expect, it } from "vitest";
import { runCli } from "../support/cli.ts";
import { locateSmolLm2 } from "../support/smollm2.ts";

const baseline = "bench/eval/baselines/smollm2-135m-instruct.json";

it("SmolLM2 is no worse than its baseline, in any mode of attention", { timeout: 1_800_000 }, async (context) => {
  const located = locateSmolLm2();
  if ("missing" in located) return context.skip(located.missing);
  const { exitCode, out, err } = await runCli(["eval", "--model", located.path, "--gate", baseline]);
  expect(err).not.toContain("allowed");
  expect(exitCode, out).toBe(0);
});
