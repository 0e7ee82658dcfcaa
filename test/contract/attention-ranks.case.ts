import { describe, expect, test } from "vitest";
import { type AttentionSettings, cacheDtypes, type NativeKvStore, type Rank, ranks } from "../../attention/types.ts";
import {
  type AttentionImplementation,
  Bench,
  blocks,
  dense,
  expectClose,
  expectSame,
  type Fill,
  type Layer,
  layerOf,
  normal,
  projections,
  referenceImplementation,
  type StoreTypes,
  sparq,
  TestSequence,
} from "./attention-fixture.ts";

/** Ranks other than SparQ's, sinks, and what rows are seen to keep. */
export function describeRanks<Store extends NativeKvStore>(implementation: AttentionImplementation<Store>): void {
  const bench = (layer: Layer, types: StoreTypes = { trackMass: true }, count = 7) =>
    new Bench(implementation, layer, count, types);
  const by = (rank: Rank, k: number, local: number, more: Partial<AttentionSettings> = {}) =>
    sparq(8, k, local, { meanValue: false, rank, ...more });

  /** As in attention-selection.case.ts: of the last position, V being the identity; no rope. */
  function weightsOf(keys: readonly number[][], query: readonly number[], settings: AttentionSettings, window = 0) {
    const layer = layerOf(1, 1, 64, { rotaryDim: 0, window });
    const fill: Fill = (position, part, _, c) =>
      part === "v" ? Number(c === position) : ((part === "q" ? query : keys[position]!)[c] ?? 0);
    const options = { rows: projections(layer, keys.length, fill), blockTable: [1], settings };
    const row = bench(layer, {}, 2)
      .run(options, keys.length - 1)
      .out.at(-1)!;
    return [...row.slice(0, keys.length)];
  }
  const kept = (weights: readonly number[]) => [...weights.keys()].filter((j) => weights[j]! > 0);
  const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

  describe("ranks", () => {
    if (implementation.name !== "reference") {
      test.each(ranks.flatMap((rank) => [1, 3, 8].map((group) => [rank, group] as const)))(
        "%s with a group of %i equals the reference",
        (rank, group) => {
          for (const [window, sinks, length] of [
            [0, 0, 150],
            [0, 5, 150],
            [60, 5, 110],
          ] as const) {
            const layer = layerOf(group * 2, 2, 32, { window });
            const options = {
              rows: projections(layer, length, normal(31 + group)),
              blockTable: blocks(7),
              settings: by(rank, 24, 8, { sinks, groupSum: group === 8 ? "logits" : "softmax" }),
            };
            const expected = new Bench(referenceImplementation, layer, 7, { trackMass: true }).run(
              options,
              length - 30,
            );
            expectClose(bench(layer).run(options, length - 30), expected);
          }
        },
      );

      test("exact ones may give the mass left out to the mean value", () => {
        const layer = layerOf(4, 2, 32);
        const options = {
          rows: projections(layer, 100, normal(8)),
          blockTable: blocks(7),
          settings: by("exact", 20, 5, { meanValue: true }),
        };
        expectClose(bench(layer).run(options, 80), new Bench(referenceImplementation, layer, 7).run(options, 80));
      });
    }

    test("exact keeps the best of all keys, the last positions and the first", () => {
      const keys = Array.from({ length: 60 }, (_, j) => [j === 7 ? 1 : 0, (j * 37) % 60]);
      // The first component is by far the larger of the query: SparQ with r = 1 sees nothing else.
      const score = (j: number) => 3 * keys[j]![0]! + keys[j]![1]! / 20;
      const best = range(2, 55)
        .sort((a, b) => score(b) - score(a))
        .slice(0, 13);
      const settings = by("exact", 20, 5, { r: 1, sinks: 2 });
      const expected = [0, 1, ...best, ...range(55, 60)].sort((a, b) => a - b);
      expect(kept(weightsOf(keys, [3, 0.05], settings))).toEqual(expected);
    });

    test("none keeps the first and the last, whatever they hold", () => {
      const keys = range(0, 60).map((j) => [j % 7, -j]);
      expect(kept(weightsOf(keys, [1, 0.1], by("none", 20, 5)))).toEqual(range(40, 60));
      expect(kept(weightsOf(keys, [1, 0.1], by("none", 20, 5, { sinks: 4 })))).toEqual([
        ...range(0, 4),
        ...range(44, 60),
      ]);
      expect(kept(weightsOf(keys, [1, 0.1], by("none", 20, 0, { sinks: 20 })))).toEqual(range(0, 20));
    });

    test("sinks are the sequence's first positions: a sliding window that has left them knows none", () => {
      const keys = range(0, 60).map(() => [0]);
      const settings = by("none", 10, 2, { sinks: 4 });
      expect(kept(weightsOf(keys, [1], settings, 58))).toEqual([2, 3, ...range(52, 60)]);
      expect(kept(weightsOf(keys, [1], settings, 30))).toEqual(range(50, 60));
    });

    test("SparQ with sinks keeps the first positions although they score worst", () => {
      const rising = range(0, 60).map((j) => [j / 10]);
      const settings = sparq(1, 12, 4, { meanValue: false, sinks: 3 });
      expect(kept(weightsOf(rising, [1], settings))).toEqual([0, 1, 2, ...range(51, 60)]);
      expect(kept(weightsOf(rising, [1], { ...settings, bucketTopK: 2 }))).toEqual([0, 1, 2, ...range(51, 60)]);
    });

    test("random keeps others at each position, and the same for every sequence", () => {
      const zeros = range(0, 60).map(() => [0]);
      const others = range(0, 60).map((j) => [Math.sin(j), Math.cos(j)]);
      const settings = by("random", 20, 5, { sinks: 1 });
      const chosen = kept(weightsOf(zeros, [1], settings));
      expect(kept(weightsOf(others, [1, 1], settings))).toEqual(chosen);
      expect(chosen).toHaveLength(20);
      expect(chosen).toEqual(expect.arrayContaining([0, ...range(55, 60)]));
      const before = kept(weightsOf(zeros.slice(1), [1], settings));
      expect(before.filter((j) => chosen.includes(j) && j > 0 && j < 54).length).toBeLessThan(12);
    });
  });

  describe("mass", () => {
    const layer = layerOf(6, 2, 64);
    const rows = projections(layer, 210, normal(41));
    const base = { rows, blockTable: [4, 1, 6, 2], settings: by("mass", 40, 20), denseUntil: 170 };
    const alone = bench(layer).run(base, 170);

    test("keeps what the rows before looked at, and what is left out never comes back", () => {
      // All rows look for 1; position 5 holds it. From row 50 on they look for 2, which position 9 holds.
      const single = layerOf(1, 1, 64, { rotaryDim: 0 });
      const fill: Fill = (position, part, _, c) => {
        if (part === "v") return Number(c === position);
        if (part === "q") return position < 50 ? (c === 0 ? 60 : 0) : c === 1 ? 60 : 0;
        return Number((position === 5 && c === 0) || (position === 9 && c === 1));
      };
      const options = { rows: projections(single, 60, fill), blockTable: [0], settings: by("mass", 12, 4) };
      const { out } = bench(single, { trackMass: true }, 1).run(options, 40);
      const chosen = range(40, 60).map((i) => kept([...out[i]!]));
      for (const [i, positions] of chosen.entries()) {
        expect(positions).toHaveLength(12);
        expect(positions).toEqual(expect.arrayContaining([5, ...range(37 + i, 41 + i)]));
        const gone = range(0, 39 + i).filter((j) => i > 0 && !chosen[i - 1]!.includes(j));
        expect(positions.filter((j) => gone.includes(j))).toEqual([]);
      }
      // The first positions got a little of every row; position 9 was gone when rows began to look for it.
      expect(chosen.every((positions) => !positions.includes(9))).toBe(true);
    });

    test.each([[[1, 1, 62, 1, 64, 41, 40]], [[170, 3, 37]], [[7, 90, 83, 30]]])("in chunks of %j", (chunks) => {
      const [cut, store] = [new TestSequence(base), bench(layer)];
      for (const count of chunks) store.step([[cut, count]]);
      expectSame(cut.out, alone.out);
    });

    test.each(implementation.threads)("beside other sequences, %i threads", (threads) => {
      const store = bench(layer, { trackMass: true }, 12);
      const other = projections(layer, 210, normal(42));
      const batch = [
        new TestSequence(base),
        new TestSequence({
          ...base,
          rows: other,
          blockTable: [0, 3, 5, 7],
          settings: by("mass", 30, 10, { sinks: 4 }),
        }),
        new TestSequence({ ...base, rows: other, blockTable: [8, 9, 10, 11], settings: by("exact", 30, 10) }),
      ];
      store.step(
        batch.map((sequence) => [sequence, 170]),
        threads,
      );
      for (let i = 170; i < 210; i++) {
        store.step(
          batch.map((sequence) => [sequence, 1]),
          threads,
        );
      }
      expectSame(batch[0]!.out, alone.out);
      const { out } = bench(layer, {}, 12).run(batch[2]!.options, 170);
      expectSame(batch[2]!.out, out);
    });

    test("decodes again from the prompt's end, with other settings too", () => {
      const store = bench(layer);
      store.run(base, 170);
      for (const settings of [by("mass", 24, 6), dense, by("mass", 40, 20)]) {
        const again = store.run({ ...base, settings, contextLength: 170 }, 170);
        expectSame(
          again.out,
          bench(layer)
            .run({ ...base, settings }, 170)
            .out.slice(170),
        );
      }
    });

    test("a prompt that follows in the same blocks begins anew", () => {
      const store = bench(layer);
      store.run({ ...base, rows: projections(layer, 210, normal(43)) }, 120);
      expectSame(store.run(base, 170).out, alone.out);
    });

    test("while few positions are visible, attends densely and counts them all the same", () => {
      const options = { ...base, denseUntil: 10 };
      expectSame(
        bench(layer).run(options, 10).out.slice(0, 40),
        bench(layer)
          .run({ ...options, settings: dense }, 10)
          .out.slice(0, 40),
      );
      if (implementation.name === "reference") return;
      expectClose(
        bench(layer).run(options, 10),
        new Bench(referenceImplementation, layer, 7, { trackMass: true }).run(options, 10),
      );
    });

    test.each(cacheDtypes)("of a cache in %s", (dtype) => {
      const { out } = bench(layer, { trackMass: true, dtype, scanDtype: "int8" }).run(base, 170);
      // Some rows choose others, since keys are others; what comes out stays near.
      const distance = (i: number) =>
        Math.sqrt(out[i]!.reduce((total, x, c) => total + (x - alone.out[i]![c]!) ** 2, 0));
      const size = (i: number) => Math.sqrt(alone.out[i]!.reduce((total, x) => total + x * x, 0));
      const near = range(0, 210).filter((i) => distance(i) < 0.2 * size(i));
      expect(near.length).toBeGreaterThan(dtype === "fp8" ? 150 : 190);
    });

    test("refuses rows whose masses are not there", () => {
      const store = bench(layer);
      store.run(base, 170);
      const from =
        (contextLength: number, more: Partial<typeof base> = {}) =>
        () =>
          store.step([[new TestSequence({ ...base, ...more, contextLength }), 1]]);
      expect(from(200)).toThrow("masses before");
      expect(from(170, { blockTable: [3, 1, 6, 2] })).toThrow("masses before");
    });
  });

  describe("traffic", () => {
    // 131 positions, two KV heads, four bytes each.
    test.each([
      ["none", 0, 2 * 40],
      ["random", 0, 2 * 40],
      ["exact", 131 * 64, 40],
      ["mass", 40, 2 * 40],
    ] as const)("of %s", (rank, scored, gathered) => {
      const layer = layerOf(8, 2, 64);
      const options = { rows: projections(layer, 131, normal(4)), blockTable: blocks(7), denseUntil: 130 };
      const sequence = new TestSequence({ ...options, settings: by(rank, 40, 10) });
      const store = bench(layer);
      store.step([[sequence, 130]]);
      expect(store.step([[sequence, 1]]).traffic).toEqual({
        scoreBytes: 2 * 4 * scored,
        gatherBytes: 2 * 4 * gathered * 64,
        denseBytes: 0,
        denseEquivalentBytes: 2 * 4 * 2 * 131 * 64,
      });
    });
  });

  describe("observation", () => {
    const layer = layerOf(6, 2, 64);
    const options = { rows: projections(layer, 140, normal(51)), blockTable: blocks(7), denseUntil: 100 };
    const observe = <S extends NativeKvStore>(of: Bench<S>, settings: AttentionSettings) => {
      const sequence = new TestSequence({ ...options, settings });
      of.step([[sequence, 100]], 1, true);
      return { sequence, observed: of.step([[sequence, 40]], implementation.threads.at(-1), true).observed! };
    };

    test.each(ranks)("of rank %s", (rank) => {
      const settings = by(rank, 30, 6);
      const { sequence, observed } = observe(bench(layer), settings);
      expect(observed.rows).toBeCloseTo(40, 9);
      // It changes nothing.
      expectSame(sequence.out, bench(layer).run({ ...options, settings }, 100).out);
      if (implementation.name !== "reference") {
        const expected = observe(new Bench(referenceImplementation, layer, 7, { trackMass: true }), settings).observed;
        expect(observed.massKept).toBeCloseTo(expected.massKept, 3);
        expect(observed.alpha).toBeCloseTo(expected.alpha, 3);
        // A near tie moves one position of thirty.
        expect(Math.abs(observed.recall - expected.recall)).toBeLessThan(0.2);
      }
    });

    test("all of the exact top-k, and its mass to the last, when that is what is kept", () => {
      const { observed } = observe(bench(layer), by("exact", 30, 0));
      expect(observed.recall).toBeCloseTo(40, 6);
      expect(observed.alpha).toBeCloseTo(observed.massKept, 4);
      const sparse = observe(bench(layer), by("sparq", 30, 0, { r: 64 })).observed;
      expect(sparse.recall).toBeGreaterThan(39.5);
      expect(sparse.massKept).toBeCloseTo(observed.massKept, 2);
    });

    test("none of rows that attend densely", () => {
      expect(observe(bench(layer), dense).observed).toEqual({ rows: 0, recall: 0, massKept: 0, alpha: 0 });
      expect(observe(bench(layer), by("exact", 140, 0)).observed.rows).toBe(0);
    });
  });
}
