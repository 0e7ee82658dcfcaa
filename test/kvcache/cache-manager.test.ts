import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { OutOfBlocksError } from "../../kvcache/block-pool.ts";
import { CacheManager } from "../../kvcache/cache-manager.ts";
import { checkInvariants } from "../../kvcache/invariants.ts";

const range = (length: number, from = 0) => Array.from({ length }, (_, i) => from + i);

/** A request that was computed in full and has left; its prompt's full blocks stay cached. */
function computeAndClose(cache: CacheManager, id: string, prompt: number[], salt?: string): number[] {
  cache.open(id, prompt, salt);
  cache.reserve(id, prompt.length);
  cache.markComputed(id, prompt.length);
  const table = cache.blockTable(id, prompt.length);
  cache.close(id);
  return table;
}

describe("CacheManager", () => {
  test("counts blocks for positions", () => {
    const cache = new CacheManager({ blocks: 8, blockSize: 4 });
    expect([0, 1, 4, 5, 8].map((positions) => cache.blocksFor(positions))).toEqual([0, 1, 1, 2, 2]);
  });

  test("reserves all or nothing, and names the numbers", () => {
    const cache = new CacheManager({ blocks: 3, blockSize: 4 });
    cache.open("a", range(5));
    cache.reserve("a", 5);
    cache.open("b", range(9, 50));
    expect(cache.canReserve("b", 9)).toBe(false);
    expect(() => cache.reserve("b", 9)).toThrow(new OutOfBlocksError(3, 1));
    expect(() => cache.reserve("b", 9)).toThrow("needs 3 blocks, 1 free");
    expect(cache.counts).toEqual({ total: 3, free: 1, cached: 0, owned: 2 });
    expect(cache.canReserve("a", 12)).toBe(true);
    cache.reserve("a", 12);
    expect(cache.blockTable("a", 12)).toHaveLength(3);
    expect(cache.blockTable("a", 4)).toEqual(cache.blockTable("a", 12).slice(0, 1));
  });

  test("keeps full blocks of the prompt, never a partial one nor one with generated positions", () => {
    const cache = new CacheManager({ blocks: 8, blockSize: 4 });
    cache.open("a", range(6));
    cache.reserve("a", 12);
    cache.markComputed("a", 12);
    cache.close("a");
    expect(cache.counts).toEqual({ total: 8, free: 7, cached: 1, owned: 0 });
  });

  test("shares the longest known prefix, but always leaves the last token to be computed", () => {
    const cache = new CacheManager({ blocks: 8, blockSize: 4 });
    const table = computeAndClose(cache, "a", range(12));
    for (const [length, hits] of [
      [4, 0],
      [5, 1],
      [8, 1],
      [11, 2],
      [12, 2],
      [13, 3],
    ] as const) {
      cache.open("b", range(length));
      expect(cache.longestCachedPrefix("b", length)).toEqual(table.slice(0, hits));
      expect(cache.adopt("b", 0, length)).toBe(hits * 4);
      cache.reserve("b", length);
      expect(cache.blockTable("b", length).slice(0, hits)).toEqual(table.slice(0, hits));
      expect(checkInvariants(cache.snapshot())).toEqual([]);
      cache.close("b");
    }
    cache.open("c", [...range(6), 99, 7, 8, 9, 10, 11, 12]);
    expect(cache.longestCachedPrefix("c", 13)).toEqual(table.slice(0, 1));
  });

  test("shares nothing over salts, nor when it is switched off", () => {
    const cache = new CacheManager({ blocks: 8, blockSize: 4 });
    computeAndClose(cache, "a", range(12), "one");
    cache.open("b", range(12), "two");
    expect(cache.longestCachedPrefix("b", 12)).toEqual([]);
    cache.open("c", range(12), "one");
    expect(cache.longestCachedPrefix("c", 12)).toHaveLength(2);

    const off = new CacheManager({ blocks: 8, blockSize: 4, prefixCaching: false });
    computeAndClose(off, "a", range(12));
    expect(off.counts.cached).toBe(0);
  });

  test("shares a block only once it is computed", () => {
    const cache = new CacheManager({ blocks: 8, blockSize: 4 });
    cache.open("a", range(12));
    cache.reserve("a", 12);
    cache.markComputed("a", 7);
    cache.open("b", range(12));
    expect(cache.longestCachedPrefix("b", 12)).toEqual(cache.blockTable("a", 4));
  });

  test("lets a running request catch up with what another one computed meanwhile", () => {
    const cache = new CacheManager({ blocks: 8, blockSize: 4 });
    for (const id of ["a", "b"]) {
      cache.open(id, range(14));
      cache.reserve(id, 14);
    }
    cache.markComputed("b", 2);
    cache.markComputed("a", 12);
    expect(cache.adopt("b", 2, 14)).toBe(12);
    expect(cache.blockTable("b", 12)).toEqual(cache.blockTable("a", 12));
    expect(cache.blockTable("b", 14)[3]).not.toBe(cache.blockTable("a", 14)[3]);
    expect(cache.counts).toEqual({ total: 8, free: 3, cached: 0, owned: 5 });
    expect(checkInvariants(cache.snapshot())).toEqual([]);
  });

  test("evicts the least recently used prefix first, and its end before its start", () => {
    const cache = new CacheManager({ blocks: 6, blockSize: 4 });
    const old = computeAndClose(cache, "old", range(8));
    computeAndClose(cache, "young", range(8, 100));
    cache.open("c", range(12, 200));
    cache.reserve("c", 12); // two free ones and one eviction
    cache.open("old again", range(9));
    expect(cache.longestCachedPrefix("old again", 9)).toEqual(old.slice(0, 1));
    cache.open("young again", range(9, 100));
    expect(cache.longestCachedPrefix("young again", 9)).toHaveLength(2);
  });

  test("a hit makes a prefix young again", () => {
    const cache = new CacheManager({ blocks: 4, blockSize: 4 });
    computeAndClose(cache, "a", range(4));
    computeAndClose(cache, "b", range(4, 100));
    cache.open("a2", range(5));
    cache.adopt("a2", 0, 5);
    cache.close("a2");
    cache.open("c", range(12, 200));
    cache.reserve("c", 12);
    cache.open("a3", range(5));
    expect(cache.longestCachedPrefix("a3", 5)).toHaveLength(1);
    cache.open("b3", range(5, 100));
    expect(cache.longestCachedPrefix("b3", 5)).toHaveLength(0);
  });

  test("admission counts idle hits as used up, held ones as free of charge, and the watermark", () => {
    const cache = new CacheManager({ blocks: 6, blockSize: 4, watermark: 2 });
    cache.open("a", range(9));
    cache.reserve("a", 9);
    cache.markComputed("a", 9);
    cache.open("b", range(13));
    expect(cache.cost("b", 13)).toBe(2); // 4 blocks, 2 of them held by a
    expect(cache.canAdmit("b", 13, true)).toBe(false); // 3 available, 2 must stay
    expect(cache.canAdmit("b", 13, false)).toBe(true);
    cache.close("a");
    expect(cache.cost("b", 13)).toBe(4); // the hits are idle now, and taking them uses them up
    expect(cache.canAdmit("b", 13, true)).toBe(true);
  });

  test("a released table that is computed again is offered again", () => {
    const cache = new CacheManager({ blocks: 2, blockSize: 4 });
    cache.open("a", range(8));
    cache.reserve("a", 8);
    cache.markComputed("a", 8);
    cache.release("a");
    expect(cache.counts.cached).toBe(2);
    computeAndClose(cache, "b", range(8, 100)); // evicts both
    cache.reserve("a", 8);
    cache.markComputed("a", 8);
    cache.close("a");
    cache.open("c", range(8));
    expect(cache.longestCachedPrefix("c", 8)).toHaveLength(1);
  });

  test("refuses unknown and repeated requests", () => {
    const cache = new CacheManager({ blocks: 4, blockSize: 4 });
    cache.open("a", [1]);
    expect(() => cache.open("a", [1])).toThrow("request a already has a block table");
    expect(() => cache.reserve("b", 1)).toThrow("request b has no block table");
    expect(() => cache.blockTable("a", 5)).toThrow("request a: 2 blocks wanted, its table has 0");
    expect(() => new CacheManager({ blocks: 4, blockSize: 0 })).toThrow("at least 1 position, got 0");
  });

  test("stays sound under any sequence of operations", () => {
    const step = fc.record({
      kind: fc.constantFrom("start", "grow", "grow", "compute", "catchUp", "release", "close"),
      id: fc.constantFrom("a", "b", "c", "d"),
      family: fc.integer({ min: 0, max: 1 }),
      length: fc.integer({ min: 1, max: 24 }),
    });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 12 }), fc.array(step, { maxLength: 80 }), (blocks, steps) => {
        const cache = new CacheManager({ blocks, blockSize: 4 });
        const live = new Map<string, { promptLength: number; reserved: number; computed: number }>();
        for (const { kind, id, family, length } of steps) {
          const state = live.get(id);
          if (state === undefined) {
            if (kind !== "start") continue;
            cache.open(id, range(length, family * 3)); // families overlap in their tokens, not in their positions
            live.set(id, { promptLength: length, reserved: 0, computed: 0 });
          } else if (kind === "grow") {
            const positions = state.reserved + length;
            if (state.reserved === 0) state.computed = cache.adopt(id, 0, Math.max(length, state.promptLength));
            if (cache.canReserve(id, positions)) {
              cache.reserve(id, positions);
              state.reserved = Math.max(positions, state.computed);
            } else expect(() => cache.reserve(id, positions)).toThrow(OutOfBlocksError);
          } else if (kind === "compute") {
            state.computed = Math.max(state.computed, Math.min(state.reserved, state.computed + length));
            cache.markComputed(id, state.computed);
          } else if (kind === "catchUp" && state.reserved >= state.promptLength) {
            state.computed = Math.max(state.computed, cache.adopt(id, state.computed, state.promptLength));
          } else if (kind === "release") {
            cache.release(id);
            Object.assign(state, { reserved: 0, computed: 0 });
          } else if (kind === "close") {
            cache.close(id);
            live.delete(id);
          }
          expect(checkInvariants(cache.snapshot())).toEqual([]);
          const { total, free, cached, owned } = cache.counts;
          expect(free + cached + owned).toBe(total);
          expect(cache.available).toBe(free + cached);
        }
        for (const id of live.keys()) cache.close(id);
        expect(cache.available).toBe(blocks);
      }),
      { seed: 2, numRuns: 600 },
    );
  });

  test("a fork shares all blocks; who writes first gets a copy of the last one, and the last holder none", () => {
    const cache = new CacheManager({ blocks: 8, blockSize: 4 });
    cache.open("a", range(7));
    cache.reserve("a", 7);
    const table = cache.blockTable("a", 7);
    for (const id of ["b", "c"]) {
      cache.open(id, range(7));
      cache.fork("a", id, 6);
      expect(cache.blockTable(id, 6)).toEqual(table);
    }
    expect(cache.counts).toMatchObject({ owned: 2, free: 6 });
    expect(cache.reserve("b", 7, 6)).toEqual([{ from: table[1], to: cache.blockTable("b", 7)[1] }]);
    expect(cache.reserve("a", 8, 7)).toHaveLength(1);
    expect(cache.reserve("c", 7, 6)).toEqual([]);
    expect(cache.blockTable("c", 7)).toEqual(table);
    expect(checkInvariants(cache.snapshot())).toEqual([]);
    expect(() => cache.fork("a", "b", 4)).toThrow("request b has blocks already");
    cache.open("d", range(7));
    expect(() => cache.fork("a", "d", 9)).toThrow("3 blocks wanted, its table has 2");
  });

  test("a known prefix is never written to, whoever holds it", () => {
    const cache = new CacheManager({ blocks: 8, blockSize: 4 });
    cache.open("a", range(8));
    cache.reserve("a", 8);
    cache.markComputed("a", 8);
    cache.open("b", range(8));
    cache.fork("a", "b", 7);
    cache.close("a");
    const [, last] = cache.blockTable("b", 7);
    expect(cache.reserve("b", 8, 7)).toEqual([{ from: last, to: cache.blockTable("b", 8)[1] }]);
    expect(cache.counts).toMatchObject({ owned: 2, cached: 1 });
  });

  test("a copy needs a block, and is refused with the numbers if there is none", () => {
    const cache = new CacheManager({ blocks: 1, blockSize: 4 });
    cache.open("a", range(3));
    cache.reserve("a", 3);
    cache.open("b", range(3));
    cache.fork("a", "b", 2);
    expect(cache.canReserve("b", 3, 2)).toBe(false);
    expect(() => cache.reserve("b", 3, 2)).toThrow(new OutOfBlocksError(1, 0));
    cache.close("a");
    expect(cache.reserve("b", 3, 2)).toEqual([]);
  });

  test("forks read what was written before them and what they wrote, never what others did", () => {
    const step = fc.record({
      kind: fc.constantFrom("write", "write", "write", "fork", "fork", "release", "close"),
      id: fc.constantFrom("a", "b", "c", "d"),
      other: fc.constantFrom("a", "b", "c", "d"),
      length: fc.integer({ min: 1, max: 7 }),
    });
    let copied = 0;
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 14 }),
        fc.array(step, { minLength: 20, maxLength: 80 }),
        (blocks, steps) => {
          const cache = new CacheManager({ blocks, blockSize: 4 });
          const prompt = range(10);
          const store = Array.from({ length: blocks }, () => new Array<string>(4).fill(""));
          const written = new Map<string, string[]>(); // what each table must read
          for (const [now, { kind, id, other, length }] of steps.entries()) {
            const own = written.get(id);
            if (own === undefined) {
              cache.open(id, prompt);
              written.set(id, []);
            } else if (kind === "write") {
              const positions = own.length + length;
              if (!cache.canReserve(id, positions, own.length)) continue;
              const copies = cache.reserve(id, positions, own.length);
              for (const { from, to } of copies) store[to] = [...store[from]!];
              copied += copies.length;
              const table = cache.blockTable(id, positions);
              // A prompt's content depends on the prompt alone.
              for (let p = own.length; p < positions; p++)
                own[p] = p < prompt.length ? `prompt ${p}` : `${id} ${now} ${p}`;
              for (let p = positions - length; p < positions; p++) store[table[Math.floor(p / 4)]!]![p % 4] = own[p]!;
              cache.markComputed(id, positions);
            } else if (kind === "fork" && other !== id && own.length === 0) {
              const source = written.get(other) ?? [];
              const positions = Math.min(source.length, length + 2);
              if (positions === 0) continue;
              cache.fork(other, id, positions);
              written.set(id, source.slice(0, positions));
            } else if (kind === "release") {
              cache.release(id);
              written.set(id, []);
            } else if (kind === "close") {
              cache.close(id);
              written.delete(id);
            }
            expect(checkInvariants(cache.snapshot())).toEqual([]);
            for (const [name, values] of written) {
              const table = cache.blockTable(name, values.length);
              expect(values.map((_, p) => store[table[Math.floor(p / 4)]!]![p % 4])).toEqual(values);
            }
          }
        },
      ),
      { seed: 20, numRuns: 300 },
    );
    expect(copied).toBeGreaterThan(50);
  });
});
