import { describe, expect, test } from "vitest";
import { cacheDtypes, type NativeKvStore, scanDtypes } from "../../attention/types.ts";
import {
  type AttentionImplementation,
  Bench,
  blocks,
  dense,
  expectSame,
  type Layer,
  layerOf,
  normal,
  projections,
  type StoreTypes,
  sparq,
  TestSequence,
} from "./attention-fixture.ts";

/** Invariance: a row comes out bit for bit the same however its step is composed; and what a step's traffic counts. */
export function describeInvariance<Store extends NativeKvStore>(implementation: AttentionImplementation<Store>): void {
  const bench = (layer: Layer, count = 7, types: StoreTypes = {}) => new Bench(implementation, layer, count, types);

  describe("bit for bit the same", () => {
    const layer = layerOf(6, 2, 64);
    const rows = projections(layer, 210, normal(11));
    const base = { rows, blockTable: [4, 1, 6, 2], settings: sparq(16, 40, 10), denseUntil: 180 };

    test.each([[[1, 1, 62, 1, 64, 51]], [[63, 65, 52]], [[7, 90, 83]]])("a prompt in chunks of %j", (chunks) => {
      const [whole, cut] = [new TestSequence(base), new TestSequence(base)];
      bench(layer).step([[whole, 180]]);
      const store = bench(layer);
      for (const count of chunks) store.step([[cut, count]]);
      expectSame(cut.out, whole.out);
    });

    // Attention on few positions, and values of all sizes: what is scaled, and by what, must not depend on the chunk.
    test.each(cacheDtypes)("a prompt of uneven values in chunks, kept as %s", (dtype) => {
      const noise = normal(17);
      const uneven = projections(layer, 210, (position, kind, head, component) => {
        const x = noise(position, kind, head, component);
        return kind === "v" ? x * 10 ** ((position % 5) - 2) : 3 * x;
      });
      const types = { dtype, scanDtype: "int8" } as const;
      const [whole, ...cuts] = [[180], [1, 1, 62, 1, 64, 51], [63, 65, 52], [7, 90, 83], [30, 30, 30, 30, 30, 30]].map(
        (chunks) => {
          const sequence = new TestSequence({ ...base, rows: uneven });
          const store = bench(layer, 7, types);
          for (const count of chunks) store.step([[sequence, count]]);
          return sequence.out;
        },
      );
      for (const cut of cuts) expectSame(cut, whole!);
    });

    test("dense decode rows one by one and in one chunk", () => {
      const options = { ...base, settings: dense, denseUntil: 30 };
      const chunk = new TestSequence(options);
      bench(layer).step([[chunk, 210]]);
      expectSame(bench(layer).run(options, 30).out, chunk.out);
    });

    test("SparQ rows one by one and in one chunk", () => {
      const chunk = new TestSequence(base);
      bench(layer).step([[chunk, 210]]);
      expectSame(bench(layer).run(base, 180).out, chunk.out);
    });

    test.each(implementation.threads)("alone and in a ragged batch of prefill and decode, %i threads", (threads) => {
      const all = [
        dense,
        sparq(16, 40, 10),
        sparq(8, 20, 5, { groupSum: "logits" }),
        sparq(4, 64, 0, { meanValue: false }),
      ];
      const options = Array.from({ length: 8 }, (_, i) => ({
        rows: projections(layer, 60 + 20 * i, normal(100 + i)),
        blockTable: [4 * i + 3, 4 * i, 4 * i + 2, 4 * i + 1],
        settings: all[i % 4]!,
        denseUntil: 40 + 15 * i,
      }));
      const store = bench(layer, 32);
      const batch = options.map((o) => new TestSequence(o));
      for (let turn = 0; batch.some((s) => s.contextLength < s.options.rows.length); turn++) {
        const parts = batch.flatMap((s, i) => {
          const left = s.options.rows.length - s.contextLength;
          const count = Math.min(left, (turn + i) % 3 === 0 ? 33 : 1);
          return count > 0 && (turn + i) % 5 !== 0 ? [[s, count] as const] : [];
        });
        if (parts.length > 0) store.step(parts, threads);
      }
      for (const [i, o] of options.entries()) {
        expectSame(batch[i]!.out, bench(layer, 32).run(o, o.denseUntil).out);
      }
    });

    const several = implementation.threads.slice(1);
    if (several.length > 0) {
      test("on one thread and on several, past a thousand positions", () => {
        const small = layerOf(2, 1, 16);
        const long = projections(small, 1102, normal(12));
        for (const settings of [dense, sparq(4, 64, 16)]) {
          const run = (threads: number) => {
            const sequence = new TestSequence({ rows: long, blockTable: blocks(18), settings, denseUntil: 1100 });
            const store = bench(small, 18);
            for (const count of [1100, 1, 1]) store.step([[sequence, count]], threads);
            return sequence.out;
          };
          const one = run(1);
          for (const threads of several) expectSame(run(threads), one);
        }
      });
    }

    test("with pages of its own and with pages shared", () => {
      const store = bench(layer);
      const first = store.run(base, 180);
      const other = { ...base, blockTable: [4, 1, 5, 3], contextLength: 128 };
      expectSame(store.run(other, 180).out, first.out.slice(128));
      expectSame(bench(layer).run(base, 180).out, first.out);
    });

    test("from a copied block", () => {
      const store = bench(layer);
      const first = new TestSequence(base);
      store.step([[first, 170]]);
      store.store.copyBlock(6, 5); // positions 128 to 169
      const copy = new TestSequence({ ...base, blockTable: [4, 1, 5, 3], contextLength: 170 });
      store.step([[first, 40]]);
      store.step([[copy, 40]]);
      expectSame(copy.out, first.out.slice(170));
    });

    const types: Required<Pick<StoreTypes, "dtype" | "scanDtype">>[] = [
      ...cacheDtypes.map((dtype) => ({ dtype, scanDtype: "int8" as const })),
      ...scanDtypes.map((scanDtype) => ({ dtype: "f32" as const, scanDtype })),
    ];
    test.each(types)("before rows that are taken back, and after them: $dtype, scan $scanDtype", (kind) => {
      // From here on the rows are others, with ranges and sums of their own.
      const draw = normal(13);
      const noise = projections(layer, 210, (...of) => 30 * draw(...of));
      for (const settings of [dense, sparq(16, 40, 10)]) {
        const options = { ...base, settings };
        const store = bench(layer, 7, kind);
        const drafted = new TestSequence(options);
        store.step([[drafted, 180]]);
        while (drafted.contextLength < 210) {
          const right = drafted.contextLength + 1;
          const both = { ...options, rows: [...rows.slice(0, right), ...noise.slice(right)], contextLength: right - 1 };
          const step = new TestSequence(both);
          store.step([[step, Math.min(7, 210 - step.contextLength)]]); // its last six are wrong
          drafted.out.push(step.out[0]!);
          drafted.contextLength = right;
        }
        expectSame(drafted.out, bench(layer, 7, kind).run(options, 180).out);
      }
    });

    test("in blocks that held something else, even not-a-numbers", () => {
      const store = bench(layer);
      store.step([[new TestSequence({ ...base, rows: projections(layer, 210, () => Number.NaN) }), 210]]);
      expectSame(store.run(base, 180).out, bench(layer).run(base, 180).out);
    });
  });

  describe("traffic", () => {
    test("counts what the algorithm reads of the cache", () => {
      const layer = layerOf(8, 2, 64);
      const options = { rows: projections(layer, 131, normal(4)), blockTable: blocks(7), denseUntil: 130 };
      const sparse = new TestSequence({ ...options, settings: sparq(16, 40, 10) });
      const store = bench(layer);
      const prefill = (2 * 2 * 64 * 4 * (130 * 131)) / 2;
      expect(store.step([[sparse, 130]]).traffic).toEqual({
        scoreBytes: 0,
        gatherBytes: 0,
        denseBytes: prefill,
        denseEquivalentBytes: prefill,
      });
      // 131 positions on three pages, two KV heads, four bytes each; of the last page, with 3, the keys are read whole.
      expect(store.step([[sparse, 1]]).traffic).toEqual({
        scoreBytes: 2 * 4 * (128 * 16 + 3 * 64),
        gatherBytes: 2 * 4 * (2 * 40 * 64 + 3 * 64),
        denseBytes: 0,
        denseEquivalentBytes: 2 * 4 * 2 * 131 * 64,
      });
    });

    test("counts only what a sliding window shows, and no sums of V without the mean value", () => {
      const layer = layerOf(4, 4, 32, { window: 50 });
      const options = { rows: projections(layer, 101, normal(4)), blockTable: blocks(7), denseUntil: 100 };
      const sequence = new TestSequence({ ...options, settings: sparq(8, 20, 5, { meanValue: false }) });
      const store = bench(layer);
      store.step([[sequence, 100]]);
      expect(store.step([[sequence, 1]]).traffic).toEqual({
        scoreBytes: 4 * 4 * (13 * 8 + 37 * 32),
        gatherBytes: 4 * 4 * 2 * 20 * 32,
        denseBytes: 0,
        denseEquivalentBytes: 4 * 4 * 2 * 50 * 32,
      });
    });
  });
}
