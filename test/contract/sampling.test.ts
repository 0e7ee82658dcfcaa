import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { loadAddon } from "../../attention/binding.ts";
import { packSampling } from "../../attention/sampling.ts";
import { RandomStream } from "../../server/engine/random.ts";
import { describeSampling } from "./sampling.case.ts";
import { densities, kinds, logitsOf, maskOf, parameters } from "./sampling-cases.ts";
import { nativeSampling, referenceSampling, rowOf, someLogits } from "./sampling-fixture.ts";

describe("the reference", () => describeSampling(referenceSampling));

const addon = loadAddon();
const paths = addon.availablePaths();

describe.each(paths)("the %s kernels", (path) => describeSampling(nativeSampling(path)));

const penalties = fc.record({
  repetitionPenalty: fc.constantFrom(1, 1.2, 0.8),
  presencePenalty: fc.constantFrom(0, 0.5),
  frequencyPenalty: fc.constantFrom(0, 0.1, -1),
  logprobs: fc.constantFrom(0, 5, 20),
});

describe("all paths and any number of threads give the same bits", () => {
  const implementations = paths.flatMap((path) => [1, 3].map((threads) => nativeSampling(path, threads)));
  const same = (size: number, logits: Float32Array, rows: ReturnType<typeof rowOf>[]) => {
    const [expected, ...others] = implementations.map((one) => one.sample(size, logits, rows));
    for (const other of others) expect(other).toEqual(expected);
  };

  test("for rows of every kind", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 700 }),
        fc.nat(1e6),
        kinds,
        fc.array(fc.tuple(parameters, penalties, fc.option(densities)), { minLength: 1, maxLength: 4 }),
        (size, seed, kind, settings) => {
          const counts = Int32Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? (i * 31) % size : i % 3));
          const rows = settings.map(([first, second, density]) => {
            const mask = density === null ? {} : { mask: maskOf(density, size, seed) };
            return rowOf({ ...first, ...second, counts, ...mask });
          });
          const logits = new Float32Array(size * rows.length);
          for (const i of rows.keys()) logits.set(logitsOf(kind, size, seed + i), i * size);
          same(size, logits, rows);
        },
      ),
      { seed: 12, numRuns: 700 },
    );
  });

  test("for a large vocabulary and many draws", () => {
    const size = 49152;
    const random = new RandomStream(3);
    const logits = new Float32Array(8 * size);
    for (let i = 0; i < 8; i++) logits.set(someLogits(size, i, 1 + i / 2), i * size);
    const settings = [{}, { temperature: 0.8, topP: 0.95 }, { topK: 50, topP: 0.9 }, { minP: 0.02 }, { topP: 0.999 }];
    for (const [n, changes] of settings.entries()) {
      const rows = Array.from({ length: 8 }, (_, i) => rowOf({ ...changes, uniform: random.uniform(8 * n + i) }));
      same(size, logits, rows);
    }
  });
});

describe("what it refuses", () => {
  const sample = (changes: object, row = rowOf()) => {
    return () => addon.sample("scalar", 1, 4, new Float32Array(8), { ...packSampling([1], [row]), ...changes });
  };

  test.each([
    ["rows", { rows: Int32Array.of(2) }, "sampling.rows[0] is 2, there are 2 logit rows"],
    ["rows", { rows: Int32Array.of(1, 1) }, "sampling.rows[1] is 1 after 1, must ascend"],
    ["params", { params: new Float64Array(9) }, "sampling.params has 9 values, expected 10"],
    ["counts", { counts: Int32Array.of(1) }, "sampling.counts has 1 values, expected 0 (pairs)"],
    ["countStarts", { countStarts: Int32Array.of(0) }, "sampling.countStarts has 1 values, expected 2"],
    ["countStarts", { countStarts: Int32Array.of(0, 1) }, "sampling.countStarts ends with 1, but there are 0"],
    ["biasStarts", { biasStarts: Int32Array.of(1, 0) }, "sampling.biasStarts[0] is 1, must be 0"],
    ["maskStarts", { maskStarts: Int32Array.of(0, 1) }, "sampling.maskStarts ends with 1, but there are 0"],
    ["biases", { biases: new Float32Array(1) }, "sampling.biases has 1 values, expected 0"],
  ])("a wrong layout: %s", (_, changes, message) => {
    expect(sample(changes)).toThrow(message);
  });

  test.each([
    [{ temperature: -1 }, "sampling of row 0: temperature is -1"],
    [{ temperature: Number.NaN }, "temperature is nan"],
    [{ topP: 0 }, "topP is 0"],
    [{ topP: 1.1 }, "topP is 1.1, must be"],
    [{ minP: -0.1 }, "minP is -0.1"],
    [{ topK: -1 }, "topK is -1"],
    [{ topK: 2 ** 31 }, "topK is 2147483648, must be an integer"],
    [{ topK: 1.5 }, "topK is 1.5, must be an integer"],
    [{ uniform: 1 }, "uniform is 1"],
    [{ repetitionPenalty: 0 }, "repetitionPenalty is 0"],
    [{ presencePenalty: Infinity }, "presencePenalty is inf"],
    [{ logprobs: 21 }, "logprobs is 21, must be -1 to 20"],
    [{ token: 4 }, "token is 4, must be -1 to 3"],
    [{ counts: Int32Array.of(4, 1), presencePenalty: 1 }, "sampling.counts[0] is 4, the vocabulary has 4 tokens"],
    [{ counts: Int32Array.of(3, -1), presencePenalty: 1 }, "sampling.counts[1] is -1"],
    [{ mask: new Int32Array(2) }, "sampling of row 0: the mask has 2 words, must have 0 or 1"],
    [{ biasTokens: Int32Array.of(-1), biases: Float32Array.of(0) }, "sampling.biasTokens[0] is -1"],
    [{ biasTokens: Int32Array.of(1), biases: Float32Array.of(Infinity) }, "sampling.biases[0] is inf"],
  ])("a wrong value: %j", (changes, message) => {
    expect(sample({}, rowOf(changes))).toThrow(message);
  });
});
