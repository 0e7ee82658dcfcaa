import { describe, expect, it } from "vitest";
import { defaultAttention } from "../../attention/defaults.ts";
import { type AttentionOverride, overrideAttention } from "../../server/attention-settings.ts";

const base = { ...defaultAttention({ heads: 4, kvHeads: 4, headDim: 32 }), bucketTopK: 2 } as const;
const override = (fields: AttentionOverride) => overrideAttention(base, fields, 32);

describe("a request's attention", () => {
  it("is the server's where nothing is said", () => {
    expect(overrideAttention(base, undefined, 32)).toBe(base);
    expect(override({})).toEqual({ ...base, rank: "sparq", sinks: 0 });
  });

  it("by another rank comes without mean value, buckets and a least context", () => {
    expect(override({ k: 64 })).toMatchObject({ kShare: 0 });
    expect(override({ k: 64, k_share: 0.5 })).toMatchObject({ k: 64, kShare: 0.5 });
    const expected = { ...base, meanValue: false, bucketTopK: 0, minContext: 0, sinks: 0 };
    for (const rank of ["exact", "none", "random"] as const) expect(override({ rank })).toEqual({ ...expected, rank });
    expect(override({ rank: "exact", mean_value: true }).meanValue).toBe(true);
  });

  it("keeps sinks beside the default window of a new k", () => {
    expect(override({ k: 64, sinks: 48 })).toMatchObject({
      k: 64,
      local: 16,
      sinks: 48,
      meanValue: true,
      minContext: 0,
    });
  });

  it.each<[AttentionOverride, string, string]>([
    [{ k: 64, sinks: 49 }, "sinks", "sinks is 49 and local 16, together over k, which is 64"],
    [{ rank: "mass" }, "rank", 'rank "mass" needs the masses of the whole prompt'],
    [{ rank: "none", mean_value: true }, "mean_value", 'mean_value is true, which rank "none" cannot have'],
    [{ rank: "exact", top_k_buckets: 4 }, "top_k_buckets", 'top_k_buckets is 4, must be 0 with rank "exact"'],
  ])("%j is refused by its field", (fields, field, message) => {
    expect(() => override(fields)).toThrow(
      expect.objectContaining({ field, message: expect.stringContaining(message) }),
    );
  });
});
