import { describe, expect, it } from "vitest";
import { VariantError } from "../../../bench/eval/variant-fields.ts";
import { parseVariant, parseVariants, settingsOf, sharingGroups } from "../../../bench/eval/variants.ts";

const shape = { heads: 9, kvHeads: 3, headDim: 64 };
const settingsFor = (name: string, tokens: number) => settingsOf(parseVariant(name), tokens, shape);

describe("variants", () => {
  it("are separated by commas, as their settings are", () => {
    const names = parseVariants("dense,sparq:r=16,k=128,local=32,sparq:1/4,cache=bf16, window:1/8").map((v) => v.name);
    expect(names).toEqual(["dense", "sparq:r=16,k=128,local=32", "sparq:1/4,cache=bf16", "window:1/8"]);
  });

  it("at a ratio divide the traffic by halves between scores and kept positions, as the paper does", () => {
    const { layout } = parseVariant("sparq:1/8");
    const settings = settingsFor("sparq:1/8", 2048);
    expect(settings).toMatchObject({ mode: "sparq", r: 8, k: 128, local: 32, minContext: 0 });
    expect(settings).toMatchObject({ meanValue: false, groupSum: "softmax", bucketTopK: 0 });
    expect(layout).toEqual({ dtype: "f16", scanDtype: "int8", trackMass: false });
    expect(settingsFor("sparq:0.5", 1000)).toMatchObject({ r: 32, k: 250, local: 62 });
  });

  it("take every setting by name", () => {
    const variant = parseVariant("sparq:r=16,k=128,local=8,mean=on,sum=logits,buckets=2,scan=f32,cache=bf16");
    expect(variant.layout).toMatchObject({ dtype: "bf16", scanDtype: "f32" });
    expect(settingsOf(variant, 9999, shape)).toEqual({
      mode: "sparq",
      r: 16,
      kShare: 0,
      k: 128,
      local: 8,
      meanValue: true,
      groupSum: "logits",
      bucketTopK: 2,
      minContext: 0,
      rank: "sparq",
      sinks: 0,
    });
  });

  it("rank in other ways to be compared with", () => {
    expect(settingsFor("window:1/8", 2048)).toMatchObject({
      rank: "none",
      k: 256,
      sinks: 16,
      local: 240,
      meanValue: false,
    });
    expect(settingsFor("window:k=20,sinks=4", 2048)).toMatchObject({ rank: "none", k: 20, sinks: 4, local: 16 });
    expect(settingsFor("window:k=20", 2048)).toMatchObject({ k: 20, sinks: 10, local: 10 });
    expect(settingsFor("exact:1/4", 2048)).toMatchObject({
      rank: "exact",
      k: 512,
      local: 128,
      sinks: 0,
      minContext: 0,
    });
    expect(settingsFor("random:k=64,local=8,sinks=2", 99)).toMatchObject({ rank: "random", k: 64, local: 8, sinks: 2 });
    expect(settingsFor("h2o:1/4", 2048)).toMatchObject({
      mode: "sparq",
      rank: "mass",
      k: 512,
      local: 256,
      meanValue: false,
    });
  });

  it("share prompts where they keep them alike, but for masses", () => {
    const groups = sharingGroups(parseVariants("dense,h2o:1/4,sparq:1/4,dense:cache=f32,h2o:1/8,default"));
    expect(groups.map((group) => group.map(({ name }) => name))).toEqual([
      ["dense", "sparq:1/4", "default"],
      ["h2o:1/4"],
      ["dense:cache=f32"],
      ["h2o:1/8"],
    ]);
  });

  it("by default are a server's", () => {
    expect(settingsFor("default", 5000)).toMatchObject({ mode: "sparq", k: 512, minContext: 3072 });
    expect(settingsFor("dense:cache=f32", 5000)).toMatchObject({ mode: "dense" });
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
    ["h2o:1/4,sinks=4", /has sinks, which it cannot have/],
    ["window", /window needs a ratio, as in :1\/4, or k/],
    ["sparq:1:2", /more than one colon/],
    ["dense,default,dense", /dense is named twice/],
  ])("%j is refused", (text, message) => {
    expect(() => parseVariants(text)).toThrow(message);
    expect(() => parseVariants(text)).toThrow(VariantError);
  });

  it("that do not fit the model are refused with the numbers", () => {
    expect(() => settingsFor("sparq:r=65,k=9", 100)).toThrow(/sparq:r=65,k=9: r is 65, over the head size 64/);
    expect(() => settingsFor("sparq:1/4,local=99", 100)).toThrow(/local is 99, over k, which is 13/);
  });
});
