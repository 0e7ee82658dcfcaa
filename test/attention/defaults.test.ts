import { describe, expect, it } from "vitest";
import { clampAttention, defaultAttention } from "../../attention/defaults.ts";
import type { AttentionSettings } from "../../attention/types.ts";

const settings: AttentionSettings = {
  mode: "sparq",
  r: 16,
  k: 128,
  local: 32,
  meanValue: true,
  groupSum: "softmax",
};

describe("defaultAttention", () => {
  it("takes a quarter of the components, and reallocates to the mean value without grouped queries only", () => {
    const llama = defaultAttention({ heads: 9, kvHeads: 3, headDim: 64 });
    const common = { ...settings, meanValue: false };
    expect(llama).toEqual({ ...common, k: 512, local: 128, kShare: 0.125, minContext: 3072 });
    const speed = defaultAttention({ heads: 9, kvHeads: 3, headDim: 64 }, "speed");
    expect(speed).toEqual({ ...common, k: 256, local: 64, kShare: 0, minContext: 1024 });
    expect(defaultAttention({ heads: 32, kvHeads: 32, headDim: 80 })).toMatchObject({ r: 20, meanValue: true });
  });

  it("keeps r between 8 and the head size", () => {
    expect(defaultAttention({ heads: 1, kvHeads: 1, headDim: 16 }).r).toBe(8);
    expect(defaultAttention({ heads: 1, kvHeads: 1, headDim: 4 }).r).toBe(4);
  });
});

describe("clampAttention", () => {
  it("leaves settings in range alone", () => {
    expect(clampAttention(settings, 64)).toEqual(settings);
  });

  it("cuts r to the head size, local to k, and k to int32", () => {
    expect(clampAttention({ ...settings, r: 500, k: 20, local: 32 }, 64)).toMatchObject({ r: 64, k: 20, local: 20 });
    expect(clampAttention({ ...settings, k: 1e12 }, 64).k).toBe(2 ** 31 - 1);
  });

  it.each([
    ["r", 0, 1],
    ["r", 1.5, 1],
    ["k", 0, 1],
    ["k", Number.NaN, 1],
    ["k", Number.POSITIVE_INFINITY, 1],
    ["local", -1, 0],
  ] as const)("refuses %s = %d", (field, value, least) => {
    expect(() => clampAttention({ ...settings, [field]: value }, 64)).toThrow(
      new RangeError(`attention setting ${field} must be an integer of at least ${least}, got ${value}`),
    );
  });
});
