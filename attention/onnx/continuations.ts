import type { BlockStore } from "./block-store.ts";

interface Continuation<T> {
  readonly value: T;
  readonly bytes: number;
  readonly length: number;
  /** The blocks that hold positions 0..length - 1, and what was their stamp. */
  readonly table: Int32Array;
  readonly stamps: readonly number[];
}

/**
 * What steps ended with, for sequences that go on from there: the same as their blocks hold, in the form that the next step takes.
 * It is given out only while that is certain, which is as long as table and length are the same and no block of it was written.
 * Keeps at most `maxBytes`, dropping what was put first.
 */
export class Continuations<T> {
  private readonly store: BlockStore;
  private readonly maxBytes: number;
  /** By the block of the last position, in the order of coming. */
  private readonly byBlock = new Map<number, Continuation<T>>();
  private total = 0;

  constructor(store: BlockStore, maxBytes: number) {
    this.store = store;
    this.maxBytes = maxBytes;
  }

  get bytes(): number {
    return this.total;
  }

  /** What the sequence's last step ended with, which is kept no longer; undefined if it is not there or not true any more. */
  take(table: Int32Array, length: number): T | undefined {
    if (length === 0) return undefined;
    const key = table[this.blocksOf(length) - 1]!;
    const found = this.byBlock.get(key);
    if (found === undefined || found.length !== length) return undefined;
    this.remove(key);
    const holds = found.table.every((block, i) => block === table[i] && found.stamps[i] === this.store.stamp(block));
    return holds ? found.value : undefined;
  }

  /** Keeps `value` for who goes on behind `length` positions in these blocks, all of which have been written. */
  put(table: Int32Array, length: number, value: T, bytes: number): void {
    const own = table.slice(0, this.blocksOf(length));
    const key = own.at(-1)!;
    this.remove(key);
    if (bytes > this.maxBytes) return;
    for (const oldest of this.byBlock.keys()) {
      if (this.total + bytes <= this.maxBytes) break;
      this.remove(oldest);
    }
    const stamps = Array.from(own, (block) => this.store.stamp(block));
    this.byBlock.set(key, { value, bytes, length, table: own, stamps });
    this.total += bytes;
  }

  private remove(key: number): void {
    const found = this.byBlock.get(key);
    if (found === undefined) return;
    this.byBlock.delete(key);
    this.total -= found.bytes;
  }

  private blocksOf(length: number): number {
    return Math.ceil(length / this.store.blockSize);
  }
}
