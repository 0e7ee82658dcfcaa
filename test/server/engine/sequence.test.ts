import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { AttentionSettings } from "../../../attention/types.ts";
import { Sequence } from "../../../server/engine/sequence.ts";

const sparq: AttentionSettings = { mode: "sparq", r: 8, k: 16, local: 4, meanValue: true, groupSum: "softmax" };

function sequence(attention: AttentionSettings, promptLength: number, generated: number): Sequence {
  const promptIds = new Array<number>(promptLength).fill(1);
  const made = new Sequence({ id: "a", promptIds, maxNewTokens: 100, attention });
  for (let i = 0; i < generated; i++) made.tokens.push(2);
  return made;
}

test("rows that keep a share of what they see are run by what they keep", () => {
  const replayed = sequence({ ...sparq, k: 64, local: 16, kShare: 0.5 }, 4, 400);
  // From 256 positions on, half of them is two steps of 64.
  expect(replayed.nextRows(1000)).toMatchObject({ rows: 255, attention: { k: 64, local: 16 } });
  replayed.computed = 255;
  expect(replayed.nextRows(1000)).toMatchObject({ rows: 128, attention: { k: 128, local: 32 } });
  replayed.computed = 383;
  expect(replayed.nextRows(1000)).toMatchObject({ rows: 21, attention: { k: 192, local: 48 } });
});

describe("rows below the least context of SparQ", () => {
  test("are dense, and are not run together with those above it", () => {
    const replayed = sequence({ ...sparq, minContext: 10 }, 4, 20);
    // Position 8 sees nine positions, position 9 ten.
    expect(replayed.nextRows(100)).toMatchObject({ rows: 9, attention: { mode: "dense" } });
    replayed.computed = 9;
    expect(replayed.nextRows(100)).toMatchObject({ rows: 15, attention: { mode: "sparq" } });
  });

  test("do not matter to a prompt that is longer, nor to dense attention", () => {
    expect(sequence({ ...sparq, minContext: 10 }, 30, 5).nextRows(100)).toMatchObject({ rows: 35, attention: sparq });
    expect(sequence({ ...sparq, mode: "dense", minContext: 10 }, 4, 20).nextRows(100).rows).toBe(24);
    expect(sequence(sparq, 4, 20).nextRows(7)).toEqual({ rows: 7, attention: sparq });
  });

  test("a position attends the same way whatever the chunks", () => {
    const chunks = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 });
    fc.assert(
      fc.property(
        fc.nat(40),
        fc.integer({ min: 1, max: 20 }),
        fc.nat(30),
        chunks,
        (minContext, prompt, more, sizes) => {
          const run = sequence({ ...sparq, minContext }, prompt, more);
          for (let i = 0; run.pending > 0; i++) {
            const { rows, attention } = run.nextRows(sizes[i % sizes.length]!);
            expect(rows).toBeGreaterThan(0);
            for (let position = run.computed; position < run.computed + rows; position++) {
              if (position < prompt) continue; // the prompt is dense in any mode
              expect(attention.mode).toBe(position + 1 >= minContext ? "sparq" : "dense");
            }
            run.computed += rows;
          }
        },
      ),
    );
  });
});
