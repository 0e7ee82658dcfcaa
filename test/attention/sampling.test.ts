import { describe, expect, test } from "vitest";
import { greedySampling, packSampling, sampledRow } from "../../attention/sampling.ts";

describe("packing", () => {
  test("lays rows out one after the other, counts only where a penalty reads them", () => {
    const counts = Int32Array.of(5, 0, 6, 2);
    const packed = packSampling(
      [0, 3, 4],
      [
        { ...greedySampling, counts, biasTokens: Int32Array.of(7), biases: Float32Array.of(-1.5) },
        { mask: Int32Array.of(6, -1), ...greedySampling, counts, presencePenalty: 0.5, logprobs: 0, token: 9 },
        { ...greedySampling, temperature: 0.8, topK: 40, topP: 0.9, minP: 0.1, uniform: 0.25, logprobs: 3 },
      ],
    );
    expect(packed.rows).toEqual(Int32Array.of(0, 3, 4));
    expect(packed.params.subarray(10)).toEqual(
      Float64Array.of(0, 1, 0, 1, 0, 0.5, 0, 0, 0, 9, 0.8, 0.9, 0.1, 1, 0, 0, 0.25, 40, 3, -1),
    );
    expect(packed.countStarts).toEqual(Int32Array.of(0, 0, 2, 2));
    expect(packed.counts).toEqual(counts);
    expect(packed.biasStarts).toEqual(Int32Array.of(0, 1, 1, 1));
    expect([packed.maskStarts, packed.masks]).toEqual([Int32Array.of(0, 0, 2, 2), Int32Array.of(6, -1)]);
    expect([packed.biasTokens, packed.biases]).toEqual([Int32Array.of(7), Float32Array.of(-1.5)]);
  });

  test("of no rows is empty arrays", () => {
    const packed = packSampling([], []);
    expect([packed.rows.length, packed.countStarts, packed.biasStarts]).toEqual([
      0,
      Int32Array.of(0),
      Int32Array.of(0),
    ]);
  });
});

test("a row gets as many of the likeliest tokens as it asked for, and its own fault", () => {
  const rows = {
    tokenIds: Int32Array.of(4, 8, 2),
    faults: Int32Array.of(0, 0, 1),
    logprobs: Float64Array.of(-0.5, Number.NaN, Number.NaN),
    topCount: 2,
    topIds: Int32Array.of(4, -1, 0, 0, 0, 0),
    topLogprobs: Float64Array.of(-0.5, Number.NaN, 0, 0, 0, 0),
  };
  expect(sampledRow(rows, 0, 2)).toEqual({ tokenId: 4, logprob: -0.5, top: [{ tokenId: 4, logprob: -0.5 }] });
  expect(sampledRow(rows, 1)).toEqual({ tokenId: 8, logprob: Number.NaN, top: [] });
  expect(sampledRow(rows, 2).error?.message).toBe("the model's logit for token 2 is NaN");
});
