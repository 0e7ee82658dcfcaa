import { expect, it } from "vitest";
import { toFlags } from "../../bench/options.ts";

it("options become flags again, without what is not there and where results go", () => {
  const options = {
    batch: [1, 8],
    keepFill: true,
    prefill: false,
    k: undefined,
    json: "/a.json",
    report: "/a.html",
    baseline: "/b.json",
  };
  expect(toFlags(options)).toBe("--batch 1,8 --keep-fill");
});
