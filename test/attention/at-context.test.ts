import fc from "fast-check";
import { expect, test } from "vitest";
import { attentionAt } from "../../attention/at-context.ts";
import type { AttentionSettings } from "../../attention/types.ts";

const sparq: AttentionSettings = { mode: "sparq", r: 8, k: 64, local: 16, meanValue: true, groupSum: "softmax" };

test("dense attention, and SparQ that is the same everywhere, have no border", () => {
  for (const settings of [sparq, { ...sparq, mode: "dense" as const, minContext: 9, kShare: 0.5 }]) {
    expect(attentionAt(settings, 5)).toEqual({ attention: settings, until: Number.POSITIVE_INFINITY });
  }
});

test("k follows its share in steps, never below k, and the local window follows k", () => {
  const settings = { ...sparq, kShare: 1 / 8, minContext: 100 };
  const at = (visible: number) => attentionAt(settings, visible).attention;
  expect(at(99).mode).toBe("dense");
  expect(at(100)).toMatchObject({ mode: "sparq", k: 64, local: 16 });
  expect(at(1023)).toMatchObject({ k: 64, local: 16 });
  expect(at(1024)).toMatchObject({ k: 128, local: 32 });
  expect(at(8192)).toMatchObject({ k: 1024, local: 256 });
});

test("rows up to the border attend alike, and the row at it does not", () => {
  const settings = fc.record({
    k: fc.integer({ min: 1, max: 700 }),
    kShare: fc.double({ min: 1e-3, max: 1, noNaN: true }),
    minContext: fc.integer({ min: 0, max: 300 }),
  });
  fc.assert(
    fc.property(settings, fc.integer({ min: 1, max: 20_000 }), (given, visible) => {
      const own = { ...sparq, local: 0, ...given };
      const { attention, until } = attentionAt(own, visible);
      expect(until).toBeGreaterThan(visible);
      if (attention.mode === "sparq") {
        expect(attention.k).toBe(Math.max(own.k, Math.floor((visible * own.kShare) / 64) * 64));
      }
      expect(attentionAt(own, until - 1).attention).toEqual(attention);
      const after = attentionAt(own, until).attention;
      // Where k is no multiple of the step, the first step over it may be the border.
      expect(after).not.toEqual(attention);
    }),
    { seed: 21, numRuns: 500 },
  );
});
