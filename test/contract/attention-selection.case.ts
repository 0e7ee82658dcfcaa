import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { AttentionSettings, NativeKvStore } from "../../attention/types.ts";
import {
  type AttentionImplementation,
  Bench,
  blocks,
  dense,
  expectSame,
  type Fill,
  type Layer,
  layerOf,
  normal,
  projections,
  type StoreTypes,
  seeded,
  sparq,
} from "./attention-fixture.ts";

/** Selection: which positions a sparse row attends to, seen in the weights themselves; and what extreme numbers do. */
export function describeSelection<Store extends NativeKvStore>(implementation: AttentionImplementation<Store>): void {
  const bench = (layer: Layer, count = 7, types: StoreTypes = {}) => new Bench(implementation, layer, count, types);

  /**
   * The weights that the last of `keys.length` positions gives to each position: V is the identity, so they are the output.
   * One query head per row of `queries`; no rope, no mean value.
   */
  function weightsOf(
    queries: readonly number[][],
    keys: readonly number[][],
    settings: AttentionSettings,
    window = 0,
  ): number[][] {
    const headDim = 64;
    const layer = layerOf(queries.length, 1, headDim, { rotaryDim: 0, window });
    const fill: Fill = (position, part, head, c) =>
      part === "v" ? Number(c === position) : ((part === "q" ? queries[head]! : keys[position]!)[c] ?? 0);
    const options = { rows: projections(layer, keys.length, fill), blockTable: [1], settings };
    const row = bench(layer, 2)
      .run(options, keys.length - 1)
      .out.at(-1)!;
    return queries.map((_, h) => [...row.slice(h * headDim, h * headDim + keys.length)]);
  }
  const kept = (weights: readonly number[]) => [...weights.keys()].filter((j) => weights[j]! > 0);

  describe("selection", () => {
    const random = seeded(5);
    const keys = Array.from({ length: 60 }, () => Array.from({ length: 64 }, () => random() * 2 - 1));
    const query = Array.from({ length: 64 }, () => random() * 2 - 1);

    test("keeps the best approximate scores and the last positions", () => {
      const shape = fc.record({
        r: fc.integer({ min: 1, max: 64 }),
        k: fc.integer({ min: 1, max: 59 }),
        local: fc.double({ min: 0, max: 1, noNaN: true }),
        seed: fc.integer(),
      });
      const property = fc.property(shape, ({ r, k, seed, local: share }) => {
        const random = seeded(seed);
        const query = Array.from({ length: 64 }, () => random() * 2 - 1);
        const local = Math.floor(share * k);
        const [weights] = weightsOf([query], keys, sparq(r, k, local, { meanValue: false }));
        const chosen = kept(weights!);
        expect(chosen.length).toBe(k);
        expect(chosen.slice(k - local)).toEqual([...keys.keys()].slice(60 - local));
        const largest = [...query.keys()].sort((a, b) => Math.abs(query[b]!) - Math.abs(query[a]!)).slice(0, r);
        const score = (j: number) => largest.reduce((sum, c) => sum + query[c]! * keys[j]![c]!, 0);
        const others = [...keys.keys()].slice(0, 60 - local).filter((j) => !chosen.includes(j));
        const worst = Math.min(...chosen.slice(0, k - local).map(score));
        expect(worst).toBeGreaterThanOrEqual(Math.max(...others.map(score)) - 1e-5);
      });
      fc.assert(property, { seed: 7, numRuns: 60 });
    });

    test.each([1, 2, 4] as const)("of each of 16 buckets keeps %i at most, and of those the best", (bucketTopK) => {
      const settings = sparq(64, 10, 2, { meanValue: false, bucketTopK });
      const score = (j: number) => query.reduce((sum, q, c) => sum + q * keys[j]![c]!, 0);
      const best = (among: number[], count: number) => among.sort((a, b) => score(b) - score(a)).slice(0, count);
      const older = [...keys.keys()].slice(0, 58);
      const buckets = Array.from({ length: 16 }, (_, b) => older.filter((j) => j % 16 === b));
      // Four of each are as many as there are: that is the exact choice.
      const expected = best(
        buckets.flatMap((bucket) => best(bucket, bucketTopK)),
        8,
      );
      const [weights] = weightsOf([query], keys, settings);
      expect(kept(weights!)).toEqual([...expected, 58, 59].sort((a, b) => a - b));
      const exactly = best([...older], 8);
      if (bucketTopK !== 2) expect(exactly.every((j) => expected.includes(j))).toBe(bucketTopK === 4);
    });

    test("takes the lower positions of equal scores", () => {
      // Scores 1, 0, -1 by thirds: the edge of the top 30 falls among the zeros.
      const tied = keys.map((_, j) => [[1, 0, -1][j % 3]!]);
      const [weights] = weightsOf([[1]], tied, sparq(1, 30, 3, { meanValue: false }));
      const ones = [...tied.keys()].filter((j) => j % 3 === 0 && j < 57);
      const zeros = [...tied.keys()].filter((j) => j % 3 === 1).slice(0, 27 - ones.length);
      expect(kept(weights!)).toEqual([...ones, ...zeros, 57, 58, 59].sort((a, b) => a - b));
    });

    test("takes the lower components of equal magnitudes", () => {
      // r = 2 of three equal components: the third, which alone tells the keys apart, must not count.
      const tied = keys.map((_, j) => [0, 0, j]);
      const [weights] = weightsOf([[1, -1, 1]], tied, sparq(2, 10, 2, { meanValue: false }));
      expect(kept(weights!)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 58, 59].filter((j) => weights![j]! > 0));
      expect(weights![8]).toBe(0);
      expect(weights![59]).toBeGreaterThan(0);
    });

    test.each(["softmax", "logits"] as const)(
      "with constant scores or a zero query keeps the first and the last (%s)",
      (groupSum) => {
        const settings = sparq(8, 20, 5, { meanValue: false, groupSum });
        const expected = [...keys.keys()].filter((j) => j < 15 || j >= 55);
        const constant = keys.map(() => query);
        const zero = query.map(() => 0);
        for (const [queries, of] of [
          [[query], constant],
          [[query, query, query], constant],
          [[zero], keys],
          [[zero, zero], keys],
        ] as const) {
          for (const weights of weightsOf(queries, of, settings)) {
            expect(kept(weights)).toEqual(expected);
            for (const j of expected) expect(weights[j]).toBeCloseTo(1 / 20, 6);
          }
        }
      },
    );

    test("one zero query in a group leaves the choice to the others", () => {
      const zero = query.map(() => 0);
      const settings = sparq(8, 20, 5, { meanValue: false });
      const [, chosen] = weightsOf([zero, query], keys, settings);
      expect(kept(chosen!)).toEqual(kept(weightsOf([query], keys, settings)[0]!));
    });

    test("sums softmaxed scores or raw logits over a group, as asked", () => {
      // Position 3 is all that the first head wants and what the second dreads most; position 7 is mildly liked by both.
      const keys = Array.from({ length: 40 }, (_, j) => (j === 3 ? [40, -60] : j === 7 ? [8, 8] : [0, 0]));
      const queries = [
        [4, 0.5],
        [0.5, 4],
      ];
      const of = (groupSum: "softmax" | "logits") =>
        weightsOf(queries, keys, sparq(2, 1, 0, { meanValue: false, groupSum }));
      expect(of("softmax").map(kept)).toEqual([[3], [3]]);
      expect(of("logits").map(kept)).toEqual([[7], [7]]);
    });

    test("keeps the last positions although they score worst", () => {
      const falling = keys.map((_, j) => [-j / 10]);
      const [weights] = weightsOf([[1]], falling, sparq(1, 12, 4, { meanValue: false }));
      expect(kept(weights!)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 56, 57, 58, 59]);
    });

    test("never leaves the sliding window", () => {
      const falling = keys.map((_, j) => [-j / 10]);
      const [whole] = weightsOf([[1]], falling, dense, 25);
      expect(kept(whole!)).toEqual([...keys.keys()].slice(35));
      const [sparse] = weightsOf([[1]], falling, sparq(1, 6, 2, { meanValue: false }), 25);
      expect(kept(sparse!)).toEqual([35, 36, 37, 38, 58, 59]);
    });

    test("is dense when r and k cover everything, bit for bit", () => {
      const layer = layerOf(6, 2, 64);
      const options = { rows: projections(layer, 140, normal(2)), blockTable: blocks(7), settings: dense };
      const expected = bench(layer).run(options, 100);
      for (const k of [140, 1000]) {
        expectSame(bench(layer).run({ ...options, settings: sparq(64, k, 0) }, 100).out, expected.out);
      }
    });

    test("the mean value changes the result, and only of sparse rows", () => {
      const layer = layerOf(2, 1, 32);
      const options = { rows: projections(layer, 90, normal(3)), blockTable: blocks(7) };
      const [off, on] = [false, true].map((meanValue) =>
        bench(layer).run({ ...options, settings: sparq(8, 20, 5, { meanValue }) }, 70),
      );
      expectSame(on!.out.slice(0, 70), off!.out.slice(0, 70));
      for (let i = 70; i < 90; i++) expect(on!.out[i]).not.toEqual(off!.out[i]);
    });
  });

  describe("finite inputs give finite results within the range of V", () => {
    test.each([0, 1e-42, 1e-30, 1e-10, 1e4, 1e10, 1e19, 1e37])("queries and keys of magnitude %d", (magnitude) => {
      for (const group of [1, 4]) {
        for (const groupSum of ["softmax", "logits"] as const) {
          for (const meanValue of [false, true]) {
            const layer = layerOf(group, 1, 32);
            const unit = normal(21);
            const fill: Fill = (position, part, head, c) => {
              const x = unit(position, part, head, c);
              return part === "v" ? Math.min(1, Math.max(-1, x)) : x * magnitude;
            };
            const options = {
              rows: projections(layer, 200, fill),
              blockTable: blocks(7),
              settings: sparq(8, 20, 5, { groupSum, meanValue }),
            };
            for (const scanDtype of ["f32", "int8"] as const) {
              const { out } = bench(layer, 7, { scanDtype }).run(options, 180);
              const outside = out.flatMap((row) => [...row]).filter((x) => !(Math.abs(x) <= 1.00001));
              expect(outside).toEqual([]);
            }
          }
        }
      }
    });

    test("one logit far above all others takes all of the weight", () => {
      const keys = Array.from({ length: 50 }, (_, j) => [j === 17 ? 1e4 : 0]);
      for (const settings of [dense, sparq(1, 10, 2, { meanValue: false }), sparq(1, 10, 2)]) {
        expect(weightsOf([[1e4]], keys, settings)[0]).toEqual(keys.map((_, j) => Number(j === 17)));
      }
    });

    test("tiny queries and keys weigh all positions alike", () => {
      const layer = layerOf(2, 1, 32, { rotaryDim: 0 });
      for (const magnitude of [1e-20, 1e-42]) {
        const fill: Fill = (position, part, _, c) =>
          part === "v" ? Math.sin(position + c) : magnitude * ((position + c) % 3);
        const { out } = bench(layer).run(
          { rows: projections(layer, 70, fill), blockTable: [0, 1], settings: dense },
          69,
        );
        for (let c = 0; c < 32; c++) {
          const mean = Array.from({ length: 70 }, (_, j) => Math.sin(j + c)).reduce((a, b) => a + b) / 70;
          expect(out.at(-1)![c]).toBeCloseTo(mean, 5);
        }
      }
    });
  });
}
