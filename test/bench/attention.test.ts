import { expect, it } from "vitest";
import { defaultAttention } from "../../attention/defaults.ts";
import { served } from "../../bench/attention.ts";
import { overrideAttention } from "../../server/attention-settings.ts";

const defaults = defaultAttention({ heads: 9, kvHeads: 3, headDim: 64 });

it("gives a benchmark what a server runs at each context", () => {
  expect(served(defaults, 3070)).toMatchObject({ attention: { mode: "dense" }, mode: "dense below 3072" });
  expect(served(defaults, 3071)).toMatchObject({ attention: { k: 512, local: 128 }, mode: "sparq r 16 k 512" });
  expect(served(defaults, 32_768)).toMatchObject({ attention: { k: 4096, local: 1024 }, mode: "sparq r 16 k 4096" });
  expect(served({ ...defaults, mode: "dense" }, 32_768).mode).toBe("dense");
});

it("leaves what was named as it is", () => {
  const named = overrideAttention(defaults, { r: 32, k: 128 }, 64);
  for (const context of [1, 512, 32_768]) expect(served(named, context).mode).toBe("sparq r 32 k 128");
});
