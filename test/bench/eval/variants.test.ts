import { describe, expect, it } from "vitest";
import { parseVariant, parseVariants, VariantError } from "../../../bench/eval/variants.ts";

const shape = { heads: 9, kvHeads: 3, headDim: 64 };

describe("variants", () => {
  it("are separated by commas, as their settings are", () => {
    const names = parseVariants("dense,sparq:r=16,k=128,local=32,sparq:1/4,cache=bf16, window:1/8").map((v) => v.name);
    expect(names).toEqual(["dense", "sparq:r=16,k=128,local=32", "sparq:1/4,cache=bf16", "window:1/8"]);
  });

  it("at a ratio divide the traffic by halves between scores and kept positions, as the paper does", () => {
    const { settings, layout } = parseVariant("sparq:1/8");
    expect(settings(2048, shape)).toMatchObject({ mode: "sparq", r: 8, k: 128, local: 32, minContext: 0 });
    expect(settings(2048, shape)).toMatchObject({ meanValue: false, groupSum: "softmax", bucketTopK: 0 });
    expect(layout).toEqual({ dtype: "f16", scanDtype: "int8" });
    expect(parseVariant("sparq:0.5").settings(1000, shape)).toMatchObject({ r: 32, k: 250, local: 62 });
  });

  it("take every setting by name", () => {
    const variant = parseVariant("sparq:r=16,k=128,local=8,mean=on,sum=logits,buckets=2,scan=f32,cache=bf16");
    expect(variant.layout).toEqual({ dtype: "bf16", scanDtype: "f32" });
    expect(variant.settings(9999, shape)).toEqual({
      mode: "sparq",
      r: 16,
      k: 128,
      local: 8,
      meanValue: true,
      groupSum: "logits",
      bucketTopK: 2,
      minContext: 0,
    });
  });

  it("by default are a server's", () => {
    expect(parseVariant("default").settings(5000, shape)).toMatchObject({ mode: "sparq", k: 256, minContext: 1024 });
    expect(parseVariant("dense:cache=f32").settings(5000, shape)).toMatchObject({ mode: "dense" });
  });

  it.each([
    ["", /must begin with one of dense, default, sparq/],
    ["flash", /'flash' must begin with one of/],
    ["sparq", /sparq needs a ratio, as in sparq:1\/4, or both r and k/],
    ["sparq:r=16", /needs a ratio.*or both r and k/],
    ["sparq:5/4", /'5\/4' where a ratio such as 1\/4, at most 1/],
    ["sparq:1/0", /'1\/0' where a ratio/],
    ["sparq:1/4,k=0", /k=0; it must be a whole number from 1 on/],
    ["sparq:1/4,scan=fp8", /scan=fp8; it must be one of f32, f16, bf16, int8/],
    ["sparq:1/4,colour=red", /has colour, which it cannot have/],
    ["sparq:1/4,k=8,k=9", /has k twice/],
    ["dense:1/4", /has '1\/4', which it cannot have/],
    ["window", /window needs a ratio, as in :1\/4, or k/],
    ["sparq:1:2", /more than one colon/],
    ["dense,default,dense", /dense is named twice/],
  ])("%j is refused", (text, message) => {
    expect(() => parseVariants(text)).toThrow(message);
    expect(() => parseVariants(text)).toThrow(VariantError);
  });

  it("that do not fit the model are refused with the numbers", () => {
    expect(() => parseVariant("sparq:r=65,k=9").settings(100, shape)).toThrow(/r = 65, over the head size 64/);
    expect(() => parseVariant("sparq:1/4,local=99").settings(100, shape)).toThrow(/local = 99, over k, which is 13/);
  });
});
