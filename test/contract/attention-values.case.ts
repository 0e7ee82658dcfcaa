import fc from "fast-check";
import { describe, test } from "vitest";
import type { AttentionSettings, NativeKvStore } from "../../attention/types.ts";
import {
  type AttentionImplementation,
  Bench,
  blocks,
  dense,
  expectClose,
  type Layer,
  layerOf,
  normal,
  projections,
  referenceImplementation,
  type SequenceOptions,
  sparq,
  TestSequence,
} from "./attention-fixture.ts";

/** The reference's runs are slow and the same for all implementations: each is made once. */
const references = new Map<string, TestSequence>();
function reference(layer: Layer, options: SequenceOptions, prompt: number, key: string): TestSequence {
  const known = references.get(key);
  if (known) return known;
  const made = new Bench(referenceImplementation, layer, 7).run(options, prompt);
  references.set(key, made);
  return made;
}

/** Values: every row equals the reference's. For the reference itself see test/attention/reference.test.ts. */
export function describeValues<Store extends NativeKvStore>(implementation: AttentionImplementation<Store>): void {
  const bench = (layer: Layer, count = 7) => new Bench(implementation, layer, count);

  /** Prefills `prompt` positions, decodes the rest, and compares all of them with the reference. */
  function checkValues(
    layer: Layer,
    length: number,
    prompt: number,
    settings: AttentionSettings,
    seed = 1,
    denseUntil = 0,
  ) {
    const options = { rows: projections(layer, length, normal(seed)), blockTable: blocks(7), settings, denseUntil };
    const key = JSON.stringify([layer, length, prompt, settings, seed]);
    expectClose(bench(layer).run(options, prompt), reference(layer, options, prompt, key));
  }

  describe("values equal the reference to 1e-5", () => {
    describe.each([32, 64, 80, 96, 128, 256])("head size %i", (headDim) => {
      test.each([1, 3, 4, 8])("a group of %i", (group) => {
        const layer = layerOf(group, 1, headDim);
        checkValues(layer, 136, 130, dense, headDim + group);
        // Rows of a prompt have kernels of their own.
        checkValues(layer, 136, 130, dense, headDim + group, 130);
        const rule = group === 3 ? "logits" : "softmax";
        checkValues(
          layer,
          136,
          130,
          sparq(headDim / 4, 32, 8, { meanValue: group !== 4, groupSum: rule }),
          headDim + group,
        );
      });
    });

    test.each([1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129, 191, 192, 193, 257])(
      "a decode row that sees %i",
      (length) => {
        const layer = layerOf(2, 2, 32);
        checkValues(layer, length, length - 1, dense);
        checkValues(layer, length, length - 1, sparq(8, 14, 4));
      },
    );

    test.each([
      ["no rope", { rotaryDim: 0 }],
      ["partial rope", { rotaryDim: 16 }],
      ["interleaved rope", { interleaved: true }],
      ["partial interleaved rope", { rotaryDim: 24, interleaved: true }],
      ["a rope scale", { ropeScale: 1.25 }],
      ["a scale of its own", { scale: 0.25 }],
    ])("%s", (_, more) => {
      const layer = layerOf(4, 2, 64, more);
      checkValues(layer, 100, 80, dense);
      checkValues(layer, 100, 80, sparq(16, 24, 6));
    });

    test.each([1, 30, 64, 65, 100])("a sliding window of %i", (window) => {
      const layer = layerOf(4, 2, 32, { window });
      checkValues(layer, 204, 190, dense);
      checkValues(layer, 204, 190, sparq(8, 20, 5));
      checkValues(layer, 204, 190, sparq(8, 20, 5, { meanValue: false, groupSum: "logits" }));
    });

    test("r from one component to all of them", () => {
      for (const r of [1, 5, 31, 32]) checkValues(layerOf(4, 2, 32), 110, 90, sparq(r, 24, 6));
    });

    test("k and local from least to most", () => {
      for (const [k, local] of [
        [1, 0],
        [1, 1],
        [2, 1],
        [40, 0],
        [40, 40],
        [108, 30],
      ] as const) {
        checkValues(layerOf(4, 2, 32), 110, 100, sparq(8, k, local));
      }
    });

    test("generated positions in a chunk, as after a preemption", () => {
      const layer = layerOf(6, 2, 64);
      const options = { rows: projections(layer, 150, normal(9)), blockTable: blocks(7), settings: sparq(16, 20, 5) };
      const expected = reference(layer, options, 60, "chunk of generated positions");
      const replayed = new TestSequence({ ...options, denseUntil: 60 });
      bench(layer).step([[replayed, 150]]);
      expectClose(replayed, expected);
    });

    test.each([1, 2, 4] as const)("with a top-k of %i from each bucket", (bucketTopK) => {
      const settings = sparq(16, 20, 4, { bucketTopK });
      checkValues(layerOf(4, 2, 64), 150, 100, settings);
      checkValues(layerOf(2, 2, 64, { window: 90 }), 150, 100, settings);
    });

    test("of any shape", () => {
      const shape = fc.record({
        headDim: fc.constantFrom(2, 8, 20, 32, 64),
        kvHeads: fc.integer({ min: 1, max: 3 }),
        group: fc.integer({ min: 1, max: 9 }),
        length: fc.integer({ min: 1, max: 150 }),
        prompt: fc.double({ min: 0, max: 1, noNaN: true }),
        r: fc.double({ min: 0, max: 1, noNaN: true }),
        k: fc.integer({ min: 1, max: 80 }),
        local: fc.double({ min: 0, max: 1, noNaN: true }),
        window: fc.constantFrom(0, 0, 50, 90),
        meanValue: fc.boolean(),
        groupSum: fc.constantFrom("softmax" as const, "logits" as const),
        seed: fc.integer(),
      });
      const property = fc.property(shape, (s) => {
        const layer = layerOf(s.kvHeads * s.group, s.kvHeads, s.headDim, { window: s.window });
        const { meanValue, groupSum } = s;
        const r = 1 + Math.floor(s.r * (s.headDim - 1));
        const settings = sparq(r, s.k, Math.floor(s.local * s.k), { meanValue, groupSum });
        checkValues(layer, s.length, Math.floor(s.prompt * s.length), settings, s.seed);
      });
      fc.assert(property, { seed: 42, numRuns: 30 });
    });
  });
}
