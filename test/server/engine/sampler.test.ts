import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { RandomStream } from "../../../server/engine/random.ts";
import { Sampler } from "../../../server/engine/sampler.ts";

interface Params {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
}
const plain: Params = { temperature: 1, topK: 0, topP: 1 };

/** Each token's probability, by the book: softmax, sort, cut, cut, renormalise. */
function probabilities(logits: Float32Array, { temperature, topK, topP }: Params): number[] {
  const peak = Math.max(...logits);
  const weights = Array.from(logits, (x) => Math.exp((x - peak) / temperature));
  let order = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]! || a - b);
  if (topK > 0) order = order.slice(0, topK);
  const total = order.reduce((sum, id) => sum + weights[id]!, 0);
  if (topP < 1) {
    let reached = 0;
    const end = order.findIndex((id) => {
      reached += weights[id]!;
      return reached >= topP * total;
    });
    if (end >= 0) order = order.slice(0, end + 1);
  }
  const kept = order.reduce((sum, id) => sum + weights[id]!, 0);
  const result = new Array<number>(logits.length).fill(0);
  for (const id of order) result[id] = weights[id]! / kept;
  return result;
}

/** Walks the probabilities in order of id. */
function naiveSample(logits: Float32Array, params: Params, uniform: number): number {
  const shares = probabilities(logits, params);
  let reached = 0;
  const id = shares.findIndex((p) => {
    reached += p;
    return reached > uniform;
  });
  return id >= 0 ? id : shares.findLastIndex((p) => p > 0); // shares may sum to a little less than 1
}

function someLogits(length: number, seed: number, spread = 3): Float32Array {
  const random = new RandomStream(seed);
  return Float32Array.from({ length }, (_, i) => {
    const [u, v] = [random.uniform(2 * i), random.uniform(2 * i + 1)];
    return spread * Math.sqrt(-2 * Math.log(1 - u)) * Math.cos(2 * Math.PI * v);
  });
}

/** Sum over tokens of (seen - expected)^2 / expected, those expected fewer than five times taken together. */
function chiSquare(logits: Float32Array, params: Params, draws: number, seed: number) {
  const sampler = new Sampler(logits.length);
  const random = new RandomStream(seed);
  const seen = new Array<number>(logits.length).fill(0);
  for (let i = 0; i < draws; i++) seen[sampler.sample(logits, params, random.uniform(i))]! += 1;
  const expected = probabilities(logits, params).map((p) => p * draws);
  for (const [id, count] of seen.entries()) if (expected[id] === 0) expect(count).toBe(0);
  const rare = expected.map((e, id) => [e, seen[id]!] as const).filter(([e]) => e < 5);
  const cells = expected.map((e, id) => [e, seen[id]!] as const).filter(([e]) => e >= 5);
  const rest = rare.reduce(([e, s], [e2, s2]) => [e + e2, s + s2] as const, [0, 0] as const);
  if (rest[0] >= 5) cells.push(rest);
  const statistic = cells.reduce((sum, [e, s]) => sum + (s - e) ** 2 / e, 0);
  const freedom = cells.length - 1;
  // Wilson and Hilferty: the cube root of chi-square over its freedom is nearly normal.
  const z = (Math.cbrt(statistic / freedom) - (1 - 2 / (9 * freedom))) / Math.sqrt(2 / (9 * freedom));
  return { z, cells: cells.length };
}

describe("greedy", () => {
  const greedy = { ...plain, temperature: 0 };

  test("takes the largest logit, of equals the lowest id", () => {
    const sampler = new Sampler(5);
    expect(sampler.sample(Float32Array.of(0, 3, -1, 3, 2), greedy, 0.99)).toBe(1);
    expect(sampler.sample(Float32Array.of(-1, -1, -1, -1, -1), greedy, 0.99)).toBe(0);
    expect(sampler.sample(Float32Array.of(-Infinity, -5, -0, 0, -Infinity), greedy, 0.5)).toBe(2);
  });

  test("holds across strides of a large vocabulary", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 300 }),
        fc.array(fc.nat(299), { minLength: 1, maxLength: 4 }),
        (size, at) => {
          const logits = new Float32Array(size).fill(-2);
          for (const index of at) logits[index % size] = 1;
          expect(new Sampler(size).sample(logits, greedy, 0)).toBe(Math.min(...at.map((index) => index % size)));
        },
      ),
      { seed: 5, numRuns: 300 },
    );
  });

  test("top_k 1 is greedy at any temperature", () => {
    expect(new Sampler(3).sample(Float32Array.of(1, 2, 2), { temperature: 100, topK: 1, topP: 1 }, 0.999)).toBe(1);
  });
});

describe("sampling", () => {
  test("draws what the naive sampler draws with the same random number", () => {
    const params = fc.record({
      temperature: fc.oneof(fc.double({ min: 0.05, max: 5, noNaN: true }), fc.constantFrom(1e-3, 1e3)),
      topK: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 400 })),
      topP: fc.oneof(fc.constant(1), fc.double({ min: 0.001, max: 0.9999, noNaN: true })),
    });
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 400 }),
        fc.nat(1e6),
        fc.constantFrom(0.1, 3, 30),
        params,
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        (size, seed, spread, chosen, uniform) => {
          const logits = someLogits(size, seed, spread);
          expect(new Sampler(size).sample(logits, chosen, uniform)).toBe(naiveSample(logits, chosen, uniform));
        },
      ),
      { seed: 6, numRuns: 1500 },
    );
  });

  test("cuts ties in favour of lower ids", () => {
    const logits = Float32Array.of(1, 5, 5, 5, 0, 5);
    const drawn = (params: Params) =>
      new Set(Array.from({ length: 200 }, (_, i) => new Sampler(6).sample(logits, params, i / 200)));
    expect(drawn({ ...plain, topK: 2 })).toEqual(new Set([1, 2]));
    expect(drawn({ ...plain, topP: 0.6 })).toEqual(new Set([1, 2, 3]));
    expect(drawn({ ...plain, topK: 3, topP: 0.4 })).toEqual(new Set([1, 2]));
  });

  test.each<[string, Params]>([
    ["temperature 1", plain],
    ["temperature 0.7", { ...plain, temperature: 0.7 }],
    ["temperature 2", { ...plain, temperature: 2 }],
    ["top_k 10", { ...plain, topK: 10 }],
    ["top_p 0.9", { ...plain, topP: 0.9 }],
    ["all three", { temperature: 1.3, topK: 40, topP: 0.8 }],
  ])("has the right distribution: %s", (_, params) => {
    const { z, cells } = chiSquare(someLogits(200, 11), params, 20_000, 17);
    expect(cells).toBeGreaterThan(4);
    expect(z).toBeLessThan(3.1); // p = 0.001
  });

  test("the test of the distribution can fail", () => {
    const logits = someLogits(200, 11);
    const skewed = Float32Array.from(logits, (x) => x * 1.1);
    const sampler = new Sampler(200);
    const random = new RandomStream(17);
    const wrong = Array.from({ length: 20_000 }, (_, i) => sampler.sample(skewed, plain, random.uniform(i)));
    const expected = probabilities(logits, plain);
    const top = logits.indexOf(Math.max(...logits));
    const share = wrong.filter((id) => id === top).length / wrong.length;
    expect(Math.abs(share - expected[top]!)).toBeGreaterThan(
      4 * Math.sqrt((expected[top]! * (1 - expected[top]!)) / 20_000),
    );
  });

  test("extreme temperatures are greedy and uniform", () => {
    const logits = Float32Array.of(1, 2, 4, 3, -Infinity);
    const sampler = new Sampler(5);
    for (const temperature of [1e-6, 1e-30, 5e-324]) {
      for (const u of [0, 0.5, 1 - 2 ** -53]) expect(sampler.sample(logits, { ...plain, temperature }, u)).toBe(2);
    }
    for (const temperature of [1e30, Number.MAX_VALUE]) {
      for (const [u, id] of [
        [0, 0],
        [0.26, 1],
        [0.51, 2],
        [0.76, 3],
        [1 - 2 ** -53, 3],
      ] as const) {
        expect(sampler.sample(logits, { ...plain, temperature }, u)).toBe(id);
        expect(sampler.sample(logits, { temperature, topK: 0, topP: 0.9999 }, u)).toBe(id);
      }
    }
  });

  test("never draws a token of logit -Infinity", () => {
    const logits = Float32Array.of(-Infinity, 0, -Infinity, -200, -Infinity);
    const sampler = new Sampler(5);
    for (const params of [
      plain,
      { ...plain, topK: 4 },
      { ...plain, topP: 0.99 },
      { temperature: 50, topK: 3, topP: 0.999 },
    ]) {
      for (let i = 0; i < 100; i++) expect([1, 3]).toContain(sampler.sample(logits, params, (i + 0.99) / 100));
      expect([1, 3]).toContain(sampler.sample(logits, params, 0));
    }
  });

  test("reads a row inside a larger matrix", () => {
    const matrix = Float32Array.of(9, 9, 9, 0, 1, 2);
    expect(new Sampler(3).sample(matrix.subarray(3), { ...plain, topK: 2 }, 0)).toBe(1);
  });

  test("blames the model for NaN, +Infinity and nothing to choose from", () => {
    const sampler = new Sampler(3);
    expect(() => sampler.sample(Float32Array.of(0, NaN, 1), plain, 0)).toThrow("the model's logit for token 1 is NaN");
    expect(() => sampler.sample(Float32Array.of(2, 1, NaN), plain, 0)).toThrow("token 2 is NaN");
    expect(() => sampler.sample(Float32Array.of(0, Infinity, 1), plain, 0)).toThrow(
      "largest logit is Infinity, for token 1",
    );
    expect(() => sampler.sample(new Float32Array(3).fill(-Infinity), plain, 0)).toThrow("largest logit is -Infinity");
  });
});
