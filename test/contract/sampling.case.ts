import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { RowSampling } from "../../attention/types.ts";
import { RandomStream } from "../../server/engine/random.ts";
import { densities, kinds, LAST, logitsOf, maskOf, parameters } from "./sampling-cases.ts";
import {
  adjustedByTheBook,
  mayBeDrawn,
  probabilities,
  rowOf,
  type SamplingImplementation,
  someLogits,
} from "./sampling-fixture.ts";

const SIZES = [1, 2, 63, 64, 65, 400];

/** What every sampler must satisfy. */
export function describeSampling(implementation: SamplingImplementation): void {
  const one = (logits: Float32Array, row: RowSampling) => implementation.sample(logits.length, logits, [row])[0]!;
  const tokenOf = (logits: Float32Array, row: RowSampling) => {
    const { tokenId, error } = one(logits, row);
    if (error) throw error;
    return tokenId;
  };
  /** Which tokens come for random numbers all over [0, 1). */
  const drawn = (logits: Float32Array, row: RowSampling, count = 200) => {
    const rows = Array.from({ length: count }, (_, i) => ({ ...row, uniform: i / count }));
    const repeated = new Float32Array(count * logits.length);
    for (let i = 0; i < count; i++) repeated.set(logits, i * logits.length);
    return new Set(implementation.sample(logits.length, repeated, rows).map(({ tokenId }) => tokenId));
  };

  describe("greedy", () => {
    const greedy = rowOf({ temperature: 0, uniform: 0.99 });

    test("takes the largest logit, of equals the lowest id", () => {
      expect(tokenOf(Float32Array.of(0, 3, -1, 3, 2), greedy)).toBe(1);
      expect(tokenOf(Float32Array.of(-1, -1, -1, -1, -1), greedy)).toBe(0);
      expect(tokenOf(Float32Array.of(-Infinity, -5, -0, 0, -Infinity), greedy)).toBe(2);
    });

    test("holds across strides of a large vocabulary", () => {
      fc.assert(
        fc.property(
          fc.integer({ min: 1, max: 300 }),
          fc.array(fc.nat(299), { minLength: 1, maxLength: 4 }),
          (size, at) => {
            const logits = new Float32Array(size).fill(-2);
            for (const index of at) logits[index % size] = 1;
            expect(tokenOf(logits, greedy)).toBe(Math.min(...at.map((index) => index % size)));
          },
        ),
        { seed: 5, numRuns: 300 },
      );
    });

    test("top_k 1 is greedy at any temperature", () => {
      expect(tokenOf(Float32Array.of(1, 2, 2), rowOf({ temperature: 100, topK: 1, uniform: 0.999 }))).toBe(1);
    });

    test("follows bias and penalties", () => {
      const logits = Float32Array.of(1, 3, 2.5);
      const counts = Int32Array.of(1, 2);
      expect(tokenOf(logits, { ...greedy, counts, frequencyPenalty: 0.3 })).toBe(2);
      expect(tokenOf(logits, { ...greedy, counts, frequencyPenalty: 0.2 })).toBe(1);
      expect(tokenOf(logits, { ...greedy, biasTokens: Int32Array.of(0), biases: Float32Array.of(2.5) })).toBe(0);
      expect(logits).toEqual(Float32Array.of(1, 3, 2.5));
    });
  });

  describe("sampling", () => {
    test("draws what the naive sampler draws with the same random number, to rounding", () => {
      fc.assert(
        fc.property(fc.constantFrom(...SIZES), fc.nat(1e6), kinds, parameters, (size, seed, kind, chosen) => {
          const [logits, row] = [logitsOf(kind, size, seed), rowOf(chosen)];
          expect(mayBeDrawn(logits, row, tokenOf(logits, row))).toBe(true);
        }),
        { seed: 6, numRuns: 2000 },
      );
    });

    test.each([49152, 151936])("holds for a vocabulary of %i", (size) => {
      for (const kind of ["plain", "flat", "equal"]) {
        const logits = logitsOf(kind, size, 3);
        const changes: Partial<RowSampling>[] = [
          {},
          { topK: 50 },
          { topK: 5000, topP: 0.9 },
          { topP: 0.95, temperature: 0.8 },
          { topP: 0.999, temperature: 5 },
          { minP: 0.05 },
          { minP: 0.01, topP: 0.9 },
        ];
        for (const [i, change] of changes.entries()) {
          const row = rowOf({ ...change, uniform: (i + 0.5) / changes.length });
          expect([kind, change, mayBeDrawn(logits, row, tokenOf(logits, row))]).toEqual([kind, change, true]);
        }
      }
    });

    test("cuts ties in favour of lower ids", () => {
      const logits = Float32Array.of(1, 5, 5, 5, 0, 5);
      expect(drawn(logits, rowOf({ topK: 2 }))).toEqual(new Set([1, 2]));
      expect(drawn(logits, rowOf({ topP: 0.6 }))).toEqual(new Set([1, 2, 3]));
      expect(drawn(logits, rowOf({ topK: 3, topP: 0.4 }))).toEqual(new Set([1, 2]));
      expect(drawn(logits, rowOf({ minP: 1 }))).toEqual(new Set([1, 2, 3, 5]));
    });

    test("keeps exactly the set that a sort gives", () => {
      // Weights in eighths: 4, 1, 1, 2.
      const logits = Float32Array.from([4, 1, 1, 2], Math.log);
      expect(drawn(logits, rowOf({ topK: 3 }))).toEqual(new Set([0, 1, 3]));
      expect(drawn(logits, rowOf({ topP: 0.49 }))).toEqual(new Set([0]));
      expect(drawn(logits, rowOf({ topP: 0.74 }))).toEqual(new Set([0, 3]));
      expect(drawn(logits, rowOf({ topP: 0.8 }))).toEqual(new Set([0, 1, 3]));
      expect(drawn(logits, rowOf({ minP: 0.49 }))).toEqual(new Set([0, 3]));
      expect(drawn(logits, rowOf({ minP: 0.24 }))).toEqual(new Set([0, 1, 2, 3]));
      // Top-p is of what top-k left: two thirds of 4 + 2.
      expect(drawn(logits, rowOf({ topK: 2, topP: 0.66 }))).toEqual(new Set([0]));
      expect(drawn(logits, rowOf({ topK: 2, topP: 0.67 }))).toEqual(new Set([0, 3]));
      // Min-p comes last: it takes nothing from the mass that top-p counts.
      expect(drawn(logits, rowOf({ topP: 0.8, minP: 0.49 }))).toEqual(new Set([0, 3]));
    });

    test.each<[string, Partial<RowSampling>]>([
      ["temperature 1", {}],
      ["temperature 0.7", { temperature: 0.7 }],
      ["temperature 2", { temperature: 2 }],
      ["top_k 10", { topK: 10 }],
      ["top_p 0.9", { topP: 0.9 }],
      ["min_p 0.02", { minP: 0.02 }],
      ["all of them", { temperature: 1.3, topK: 40, topP: 0.8, minP: 0.03 }],
    ])("has the right distribution: %s", (_, changes) => {
      const { z, cells } = chiSquare(implementation, someLogits(200, 11), someLogits(200, 11), rowOf(changes));
      expect(cells).toBeGreaterThan(4);
      expect(z).toBeLessThan(3.1); // p = 0.001
    });

    test("the test of the distribution can fail", () => {
      const logits = someLogits(200, 11);
      const skewed = logits.map((x) => x * 1.1);
      expect(chiSquare(implementation, skewed, logits, rowOf()).z).toBeGreaterThan(3.1);
    });

    test("extreme temperatures are greedy and uniform", () => {
      const logits = Float32Array.of(1, 2, 4, 3, -Infinity);
      for (const temperature of [1e-6, 1e-30, 5e-324]) {
        for (const uniform of [0, 0.5, LAST]) expect(tokenOf(logits, rowOf({ temperature, uniform }))).toBe(2);
      }
      for (const temperature of [1e30, Number.MAX_VALUE]) {
        for (const [uniform, id] of [
          [0, 0],
          [0.26, 1],
          [0.51, 2],
          [0.76, 3],
          [LAST, 3],
        ] as const) {
          expect(tokenOf(logits, rowOf({ temperature, uniform }))).toBe(id);
          expect(tokenOf(logits, rowOf({ temperature, uniform, topP: 0.9999 }))).toBe(id);
        }
      }
    });

    test("never draws a token of logit -Infinity", () => {
      const logits = Float32Array.of(-Infinity, 0, -Infinity, -5, -Infinity);
      const few = [{}, { topK: 4 }, { topP: 0.999 }, { temperature: 50, topK: 3, topP: 0.999 }, { minP: 1e-9 }];
      for (const changes of few) {
        expect([1, 3]).toContain(tokenOf(logits, rowOf({ ...changes, uniform: LAST })));
        for (const id of drawn(logits, rowOf(changes))) expect([1, 3]).toContain(id);
      }
    });
  });

  describe("penalties and bias", () => {
    const row = rowOf({
      repetitionPenalty: 1.3,
      presencePenalty: 0.4,
      frequencyPenalty: -0.2,
      counts: Int32Array.of(0, 3, 1, 0, 4, 1, 7, 0),
      biasTokens: Int32Array.of(2, 4, 5),
      biases: Float32Array.of(1.5, -3, -Infinity),
    });
    const logits = Float32Array.of(1, 2, -1, 0.5, 3, 9, 0, -2);

    test("are vLLM's: bias, repetition of all that was there, frequency and presence of what was generated", () => {
      const expected = [
        1 / 1.3 + 0.2 * 3 - 0.4,
        2 / 1.3, // in the prompt only
        -1 + 1.5,
        0.5,
        (3 - 3) * 1.3 + 0.2 - 0.4,
        -Infinity,
        0,
        -2 * 1.3,
      ];
      adjustedByTheBook(logits, row).forEach((x, i) => {
        if (Number.isFinite(expected[i])) expect(x).toBeCloseTo(expected[i]!, 6);
        else expect(x).toBe(expected[i]);
      });
      for (let i = 0; i < 300; i++) {
        const drawing = { ...row, uniform: (i + 0.5) / 300 };
        expect(mayBeDrawn(logits, drawing, tokenOf(logits, drawing))).toBe(true);
      }
      expect(drawn(logits, row)).not.toContain(5);
    });

    test("touch only their own row, and leave the logits as they were", () => {
      const both = new Float32Array([...logits, ...logits]);
      const before = both.slice();
      const plain = rowOf({ uniform: 0.3 });
      const [, other] = implementation.sample(8, both, [row, plain]);
      expect(other).toEqual(one(logits, plain));
      expect(both).toEqual(before);
    });

    test("may rule out all tokens but one, and not all", () => {
      const biasTokens = Int32Array.of(0, 1, 2);
      const biases = new Float32Array(3).fill(-Infinity);
      const four = Float32Array.of(5, 6, 7, -8);
      expect(drawn(four, rowOf({ biasTokens, biases }))).toEqual(new Set([3]));
      expect(one(four.subarray(0, 3), rowOf({ biasTokens, biases })).error?.message).toContain("is not finite");
    });
  });

  describe("a mask", () => {
    const ruledOut = (logits: Float32Array, mask: Int32Array) =>
      logits.map((logit, token) => ((mask[token >> 5]! >> (token & 31)) & 1 ? logit : -Infinity));

    test("is the same as logits of -Infinity, whatever else the row asks for", () => {
      const others = fc.record({
        presencePenalty: fc.constantFrom(0, 0.5),
        repetitionPenalty: fc.constantFrom(1, 1.3),
        greedy: fc.boolean(),
      });
      fc.assert(
        fc.property(
          fc.constantFrom(...SIZES, 31, 32, 33),
          fc.nat(1e6),
          kinds,
          densities,
          parameters,
          others,
          (size, seed, kind, density, chosen, { greedy, ...penalties }) => {
            const logits = logitsOf(kind, size, seed);
            const before = logits.slice();
            const mask = maskOf(density, size, seed);
            const row = rowOf({
              ...chosen,
              ...penalties,
              ...(greedy ? { temperature: 0 } : {}),
              counts: Int32Array.of(seed % size, 2),
              biasTokens: Int32Array.of((seed * 7) % size),
              biases: Float32Array.of(2.5),
            });
            const expected = one(ruledOut(logits, mask), row);
            const got = one(logits, { ...row, mask });
            expect(got.error !== undefined).toBe(expected.error !== undefined);
            if (expected.error === undefined) expect(got).toEqual(expected);
            expect(logits).toEqual(before);
          },
        ),
        { seed: 8, numRuns: 600 },
      );
    });

    test("hides the model's faults where it rules out, and leaves log-probabilities as they are", () => {
      const mask = Int32Array.of(0b1010);
      expect(tokenOf(Float32Array.of(Number.NaN, 1, Infinity, 0), rowOf({ temperature: 0, mask }))).toBe(1);
      const logits = Float32Array.from([8, 4, 2, 2], Math.log);
      const { tokenId, logprob, top } = one(logits, rowOf({ temperature: 0, mask, logprobs: 1 }));
      expect([tokenId, top[0]!.tokenId]).toEqual([1, 0]);
      expect(logprob).toBeCloseTo(Math.log(4 / 16), 5);
    });

    test("that leaves nothing is an error of its own, in its own row only", () => {
      const message = "no token that the mask allows has a finite logit";
      for (const row of [rowOf(), rowOf({ temperature: 0 }), rowOf({ logprobs: 1 })]) {
        expect(one(new Float32Array(40), { ...row, mask: new Int32Array(2) }).error?.message).toBe(message);
      }
      const fewer = Float32Array.of(1, -Infinity, 2);
      expect(one(fewer, rowOf({ mask: Int32Array.of(0b10) })).error?.message).toBe(message);
      const [first, second] = implementation.sample(2, new Float32Array(4), [
        rowOf({ mask: Int32Array.of(0) }),
        rowOf(),
      ]);
      expect([first!.error?.message, second!.error]).toEqual([message, undefined]);
    });
  });

  describe("log-probabilities", () => {
    test("are of the logits as they came, whatever the row's parameters, exact to 1e-5", () => {
      for (const [size, kind] of [
        [400, "plain"],
        [65, "ties"],
        [400, "steep"],
        [49152, "flat"],
        [151936, "plain"],
      ] as const) {
        const logits = logitsOf(kind, size, 8);
        const counts = Int32Array.from({ length: 60 }, (_, i) => i);
        const row = rowOf({ temperature: 0.3, counts, frequencyPenalty: 2, logprobs: 20, uniform: 0.7 });
        const { tokenId, logprob, top } = one(logits, row);
        const peak = logits.reduce((a, b) => Math.max(a, b));
        const logOfSum = peak + Math.log(logits.reduce((sum, x) => sum + Math.exp(x - peak), 0));
        const order = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]! || a - b).slice(0, 20);
        expect(top.map((entry) => entry.tokenId)).toEqual(order);
        for (const entry of [{ tokenId, logprob }, ...top]) {
          expect(Math.abs(entry.logprob - (logits[entry.tokenId]! - logOfSum))).toBeLessThan(1e-5);
        }
      }
    });

    test("of the same token are the same number", () => {
      const logits = someLogits(300, 4);
      const { tokenId, logprob, top } = one(logits, rowOf({ temperature: 0, logprobs: 3 }));
      expect(top[0]).toEqual({ tokenId, logprob });
    });

    test("can be had of a given token, and of no other", () => {
      const logits = Float32Array.from([1, 2, 4, 1], Math.log);
      const { tokenId, logprob, top } = one(logits, rowOf({ token: 1, logprobs: 0 }));
      expect([tokenId, top]).toEqual([1, []]);
      expect(logprob).toBeCloseTo(Math.log(2 / 8), 6);
    });

    test("come for no more tokens than there are, and not unasked", () => {
      const logits = Float32Array.of(0, -Infinity, 0);
      const { top } = one(logits, rowOf({ temperature: 0, logprobs: 20 }));
      expect(top.map((entry) => entry.tokenId)).toEqual([0, 2, 1]);
      expect(top[2]!.logprob).toBe(-Infinity);
      const [none, asked] = implementation.sample(3, new Float32Array(6), [rowOf(), rowOf({ logprobs: 1 })]);
      expect([none!.logprob, none!.top]).toEqual([Number.NaN, []]);
      expect(asked!.top).toHaveLength(1);
    });
  });

  test("blames the model for NaN, +Infinity and nothing to choose from, in its own row only", () => {
    const sizes = [3, 70];
    for (const size of sizes) {
      const fill = (token: number, value: number) => new Float32Array(size).fill(value, token, token + 1);
      for (const row of [rowOf(), rowOf({ temperature: 0 }), rowOf({ logprobs: 2 })]) {
        const message = (logits: Float32Array) => one(logits, row).error?.message;
        for (const token of [0, 1, size - 1]) {
          expect(message(fill(token, Number.NaN))).toBe(`the model's logit for token ${token} is NaN`);
          expect(message(fill(token, Infinity))).toBe(`the model's largest logit, for token ${token}, is not finite`);
        }
        expect(message(fill(0, 0).fill(-Infinity))).toBe("the model's largest logit, for token 0, is not finite");
      }
    }
    const rows = new Float32Array(9).fill(Number.NaN, 3, 4);
    const [first, second, third] = implementation.sample(3, rows, [rowOf(), rowOf(), rowOf({ uniform: 0.9 })]);
    expect([first!.error, first!.tokenId, third!.error, third!.tokenId]).toEqual([undefined, 0, undefined, 2]);
    expect(second!.error?.message).toContain("token 0 is NaN");
  });
}

/** Sum over tokens of (seen - expected)^2 / expected, those expected fewer than five times taken together. */
function chiSquare(
  implementation: SamplingImplementation,
  logits: Float32Array,
  expectedLogits: Float32Array,
  row: RowSampling,
) {
  const draws = 20_000;
  const random = new RandomStream(17);
  const seen = new Array<number>(logits.length).fill(0);
  const matrix = new Float32Array(1000 * logits.length);
  for (let i = 0; i < 1000; i++) matrix.set(logits, i * logits.length);
  for (let start = 0; start < draws; start += 1000) {
    const rows = Array.from({ length: 1000 }, (_, i) => ({ ...row, uniform: random.uniform(start + i) }));
    for (const { tokenId } of implementation.sample(logits.length, matrix, rows)) seen[tokenId]! += 1;
  }
  const expected = probabilities(expectedLogits, row).map((p) => p * draws);
  for (const [id, count] of seen.entries()) if (expected[id] === 0) expect(count).toBe(0);
  const all = Array.from(expected, (e, id) => [e, seen[id]!] as const);
  const cells = all.filter(([e]) => e >= 5);
  const rest = all.filter(([e]) => e < 5).reduce(([e, s], [e2, s2]) => [e + e2, s + s2] as const, [0, 0] as const);
  if (rest[0] >= 5) cells.push(rest);
  const statistic = cells.reduce((sum, [e, s]) => sum + (s - e) ** 2 / e, 0);
  const freedom = cells.length - 1;
  // Wilson and Hilferty: the cube root of chi-square over its freedom is nearly normal.
  const z = (Math.cbrt(statistic / freedom) - (1 - 2 / (9 * freedom))) / Math.sqrt(2 / (9 * freedom));
  return { z, cells: cells.length };
}
