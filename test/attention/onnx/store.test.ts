import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BlockStore, bytesPerBlock } from "../../../attention/onnx/block-store.ts";
import { Continuations } from "../../../attention/onnx/continuations.ts";

const slots = [
  { heads: 2, rowBytes: 3 },
  { heads: 1, rowBytes: 4 },
];
const SIZE = 4;
const BLOCKS = 5;

/** Rows of every slot, [heads][of][rowBytes], of values that tell head, position and what was written. */
function rowsOf(first: number, of: number, seed: number): Uint8Array[] {
  return slots.map(({ heads, rowBytes }, slot) => {
    return Uint8Array.from({ length: heads * of * rowBytes }, (_, i) => {
      const [head, row] = [Math.floor(i / (of * rowBytes)), Math.floor(i / rowBytes) % of];
      return 7 * slot + 31 * head + 3 * (first + row) + (i % rowBytes) + seed;
    });
  });
}

/** What a store means: a list of rows by slot, head and position of each block. */
class Model {
  readonly rows = new Map<string, string>();

  write(table: readonly number[], begin: number, end: number, seed: number) {
    for (const [slot, { heads, rowBytes }] of slots.entries()) {
      const source = rowsOf(begin, end - begin, seed)[slot]!;
      for (let head = 0; head < heads; head++) {
        for (let at = begin; at < end; at++) {
          const from = (head * (end - begin) + at - begin) * rowBytes;
          this.rows.set(this.key(slot, head, table, at), source.slice(from, from + rowBytes).join());
        }
      }
    }
  }

  copy(from: number, to: number) {
    for (const [slot, { heads }] of slots.entries()) {
      for (let head = 0; head < heads; head++) {
        for (let at = 0; at < SIZE; at++) {
          this.rows.set(this.key(slot, head, [to], at), this.row(slot, head, [from], at));
        }
      }
    }
  }

  gather(slot: number, table: readonly number[], length: number): string {
    const rows: string[] = [];
    for (let head = 0; head < slots[slot]!.heads; head++) {
      for (let at = 0; at < length; at++) rows.push(this.row(slot, head, table, at));
    }
    return rows.join();
  }

  private row(slot: number, head: number, table: readonly number[], at: number): string {
    return this.rows.get(this.key(slot, head, table, at)) ?? new Array(slots[slot]!.rowBytes).fill(0).join();
  }

  private key(slot: number, head: number, table: readonly number[], at: number): string {
    return `${slot} ${head} ${table[Math.floor(at / SIZE)]} ${at % SIZE}`;
  }
}

/** Tables that share blocks, as sequences that begin alike do, and as blocks that are handed on do. */
const tables = [
  [0, 1, 2],
  [0, 1, 3],
  [4, 2],
  [3, 0, 4],
];
const table = fc.constantFrom(...tables);
const operation = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("run"),
      table,
      begin: fc.option(fc.nat(6)),
      rows: fc.integer({ min: 1, max: 6 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("copy"), from: fc.nat(BLOCKS - 1), to: fc.nat(BLOCKS - 1) }) },
);

/** Without `begin`: from where the table's last run ended. */
type Run = { kind: "run"; table: number[]; begin: number | null; rows: number };
type Copy = { kind: "copy"; from: number; to: number };

describe("a store of blocks", () => {
  it("gives back what was last written, and continuations only while that is what blocks hold", () => {
    let hits = 0;
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 40 }), (operations) => {
        const store = new BlockStore(BLOCKS, SIZE, slots);
        const model = new Model();
        const ended = new Continuations<string>(store, 1000);
        const ends = new Map<number[], number>();
        const contents = (blocks: readonly number[], length: number) =>
          slots.map((_, slot) => model.gather(slot, blocks, length)).join("; ");
        for (const [i, step] of (operations as (Run | Copy)[]).entries()) {
          if (step.kind === "copy") {
            store.copy(step.from, step.to);
            model.copy(step.from, step.to);
            continue;
          }
          const begin = step.begin ?? ends.get(step.table) ?? 0;
          const end = Math.min(begin + step.rows, step.table.length * SIZE);
          ends.set(step.table, end);
          const blocks = Int32Array.from(step.table);
          const found = ended.take(blocks, begin);
          if (found !== undefined) hits += 1;
          if (found !== undefined) expect(found).toBe(contents(step.table, begin));
          store.write(blocks, begin, end, rowsOf(begin, end - begin, i), begin, end - begin);
          model.write(step.table, begin, end, i);
          ended.put(blocks, end, contents(step.table, end), 10);
          for (const slot of slots.keys()) {
            expect(store.gather(slot, blocks, end).join()).toBe(model.gather(slot, step.table, end));
          }
        }
      }),
      { numRuns: 300, seed: 1 },
    );
    expect(hits).toBeGreaterThan(50);
  });

  it("copies rows out of the midst of longer ones", () => {
    const store = new BlockStore(BLOCKS, SIZE, slots);
    const blocks = Int32Array.of(4, 1);
    store.write(blocks, 0, 7, rowsOf(0, 7, 0), 0, 7);
    const other = Int32Array.of(2, 3);
    store.write(other, 0, 3, rowsOf(0, 7, 0), 0, 7);
    store.write(other, 3, 7, rowsOf(2, 5, 0), 2, 5);
    for (const slot of slots.keys()) expect(store.gather(slot, other, 7)).toEqual(store.gather(slot, blocks, 7));
  });

  it("takes as many bytes as its slots have", () => {
    expect(bytesPerBlock(slots, SIZE)).toBe(4 * (2 * 3 + 4));
    expect(new BlockStore(1, SIZE, slots).bytesPerBlock).toBe(40);
  });
});

describe("continuations", () => {
  const written = () => {
    const store = new BlockStore(BLOCKS, SIZE, slots);
    store.write(Int32Array.of(0, 1, 2, 3, 4), 0, 20, rowsOf(0, 20, 0), 0, 20);
    return store;
  };

  it("are given once, for the same length and table", () => {
    const ended = new Continuations<string>(written(), 100);
    const blocks = Int32Array.of(0, 1);
    ended.put(blocks, 6, "a", 10);
    expect(ended.take(blocks, 5)).toBeUndefined();
    expect(ended.take(Int32Array.of(2, 1), 6)).toBeUndefined();
    ended.put(blocks, 6, "a", 10);
    expect(ended.take(Int32Array.of(0, 1, 4), 6)).toBe("a");
    expect(ended.take(blocks, 6)).toBeUndefined();
    expect(ended.bytes).toBe(0);
  });

  it("drop the oldest where they are too many, and keep none that is too large", () => {
    const ended = new Continuations<string>(written(), 25);
    for (const block of [0, 1, 2]) ended.put(Int32Array.of(block), 4, `of ${block}`, 10);
    expect(ended.bytes).toBe(20);
    expect([0, 1, 2].map((block) => ended.take(Int32Array.of(block), 4))).toEqual([undefined, "of 1", "of 2"]);
    ended.put(Int32Array.of(3), 4, "large", 26);
    expect(ended.take(Int32Array.of(3), 4)).toBeUndefined();
    expect(ended.bytes).toBe(0);
  });
});
