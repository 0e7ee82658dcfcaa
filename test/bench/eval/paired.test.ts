import { describe, expect, it } from "vitest";
import { fromDense } from "../../../bench/eval/paired.ts";
import type { EvalResult } from "../../../bench/eval/types.ts";

const result = (variant: string, items: number[], more: Partial<EvalResult> = {}): EvalResult => ({
  ...{ task: "squad", variant, tokens: 1024, metric: "match", better: "higher", value: 0, stderr: 0, n: items.length },
  ...{ bytesRatio: null, sparseBytesRatio: null, items },
  ...more,
});

describe("the difference from dense attention", () => {
  const dense = result("dense", [1, 2, 3]);

  it("is taken item by item", () => {
    const other = result("sparq:1/8", [2, 3, 4]);
    expect(fromDense(other, [dense, other])).toEqual({ difference: 1, stderr: 0 });
    const uneven = result("sparq:1/8", [0, 2, 4]);
    expect(fromDense(uneven, [dense, uneven])).toEqual({ difference: 0, stderr: expect.closeTo(1 / Math.sqrt(3), 12) });
  });

  it("is of the same task, length and metric, and of as many items", () => {
    const other = result("sparq:1/8", [2, 3, 4]);
    expect(fromDense(other, [result("dense", [0, 0, 0], { tokens: 2048 }), dense])!.difference).toBe(1);
    expect(fromDense(other, [result("dense", [0, 0, 0], { metric: "other" })])).toBeNull();
    expect(fromDense(other, [result("dense", [0])])).toBeNull();
    expect(fromDense(dense, [dense])).toBeNull();
    expect(fromDense(result("sparq:1/8", [2]), [result("dense", [1])])).toEqual({ difference: 1, stderr: null });
  });
});
