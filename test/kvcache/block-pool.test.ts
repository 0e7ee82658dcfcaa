import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BlockPool, OutOfBlocksError } from "../../kvcache/block-pool.ts";

/** The pool again, naively: a state for each block and a list in order of release. */
class ModelPool {
  readonly refs: number[];
  readonly cached: number[] = [];

  constructor(total: number) {
    this.refs = new Array<number>(total).fill(0);
  }

  get free(): number[] {
    return this.refs.flatMap((count, block) => (count === 0 && !this.cached.includes(block) ? [block] : []));
  }

  release(block: number, keep: boolean): void {
    this.refs[block] = this.refs[block]! - 1;
    if (this.refs[block] === 0 && keep) this.cached.push(block);
  }

  retain(block: number): void {
    const index = this.cached.indexOf(block);
    if (index >= 0) this.cached.splice(index, 1);
    this.refs[block] = this.refs[block]! + 1;
  }
}

const operation = fc.record({
  kind: fc.constantFrom("allocate", "retain", "release", "keep", "evict"),
  pick: fc.nat(),
});

describe("BlockPool", () => {
  test("agrees with a naive pool after every operation", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 8 }), fc.array(operation, { maxLength: 60 }), (total, operations) => {
        const pool = new BlockPool(total);
        const model = new ModelPool(total);
        for (const { kind, pick } of operations) {
          const block = pick % total;
          const held = model.refs[block]! > 0;
          if (kind === "allocate") {
            const { free } = model;
            if (free.length === 0) expect(() => pool.allocate()).toThrow(OutOfBlocksError);
            else {
              const taken = pool.allocate();
              expect(free).toContain(taken);
              model.refs[taken] = 1;
            }
          } else if (kind === "retain") {
            if (!held && !model.cached.includes(block)) expect(() => pool.retain(block)).toThrow(/is free/);
            else {
              pool.retain(block);
              model.retain(block);
            }
          } else if (kind === "evict") {
            const oldest = model.cached.shift();
            if (oldest === undefined) expect(() => pool.evictOldest()).toThrow(OutOfBlocksError);
            else expect(pool.evictOldest()).toBe(oldest);
          } else if (held) {
            pool.release(block, kind === "keep");
            model.release(block, kind === "keep");
          } else expect(() => pool.release(block, kind === "keep")).toThrow(`block ${block} is released`);

          const snapshot = pool.snapshot();
          expect([...snapshot.free].sort((a, b) => a - b)).toEqual(model.free);
          expect(snapshot.cached).toEqual(model.cached);
          expect(snapshot.refCounts).toEqual(model.refs);
          const { free, cached, owned } = pool.counts;
          expect([free, cached]).toEqual([model.free.length, model.cached.length]);
          expect(free + cached + owned).toBe(total);
        }
      }),
      { seed: 1, numRuns: 200 },
    );
  });

  test("names the numbers when it is empty", () => {
    const pool = new BlockPool(1);
    pool.allocate();
    expect(() => pool.allocate()).toThrow("needs 1 blocks, 0 free");
  });

  test("refuses sizes and blocks that do not exist", () => {
    expect(() => new BlockPool(0)).toThrow("at least 1 block, got 0");
    expect(() => new BlockPool(1.5)).toThrow(RangeError);
    expect(() => new BlockPool(4).retain(4)).toThrow("block 4 is outside the pool of 4");
    expect(() => new BlockPool(4).release(-1, true)).toThrow("block -1 is outside the pool of 4");
  });
});
