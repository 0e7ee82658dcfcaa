/** A kind of thing that is kept of each position: `heads` rows of `rowBytes` bytes. */
export interface SlotShape {
  readonly heads: number;
  readonly rowBytes: number;
}

/** Bytes of one block of a store. */
export function bytesPerBlock(slots: readonly SlotShape[], blockSize: number): number {
  return blockSize * slots.reduce((sum, { heads, rowBytes }) => sum + heads * rowBytes, 0);
}

/**
 * What a decoder keeps of sequences' positions, in blocks of JavaScript memory: [slots][heads][blockSize][rowBytes] each. A block
 * takes memory from when it is first written; one never written reads as zeros. Everything is copied in rows as long as a block
 * has them, by memcpy.
 */
export class BlockStore {
  readonly blockSize: number;
  readonly bytesPerBlock: number;
  private readonly slots: readonly SlotShape[];
  private readonly offsets: readonly number[];
  private readonly blocks: (Uint8Array | undefined)[];
  private readonly stamps: Float64Array;
  private lastStamp = 0;

  constructor(blocks: number, blockSize: number, slots: readonly SlotShape[]) {
    this.blockSize = blockSize;
    this.slots = slots;
    this.offsets = slots.map((_, i) => bytesPerBlock(slots.slice(0, i), blockSize));
    this.bytesPerBlock = bytesPerBlock(slots, blockSize);
    this.blocks = new Array<Uint8Array | undefined>(blocks).fill(undefined);
    this.stamps = new Float64Array(blocks);
  }

  get size(): number {
    return this.blocks.length;
  }

  /** Changes whenever something is written to the block, and is never the same again. */
  stamp(block: number): number {
    return this.stamps[block]!;
  }

  /** A slot's rows of positions 0..length - 1, [heads][length][rowBytes], new. */
  gather(slot: number, table: Int32Array, length: number): Uint8Array<ArrayBuffer> {
    const { heads, rowBytes } = this.slots[slot]!;
    const gathered = new Uint8Array(heads * length * rowBytes);
    for (let start = 0; start < length; start += this.blockSize) {
      const block = this.blocks[table[start / this.blockSize]!];
      if (block === undefined) continue;
      const rows = Math.min(this.blockSize, length - start);
      for (let head = 0; head < heads; head++) {
        const from = this.rowOffset(slot, head, 0);
        gathered.set(block.subarray(from, from + rows * rowBytes), (head * length + start) * rowBytes);
      }
    }
    return gathered;
  }

  /**
   * Keeps positions begin..end - 1 of every slot. `sources` has for each slot [heads][of][rowBytes], the rows of positions `first`
   * to first + of - 1.
   */
  write(
    table: Int32Array,
    begin: number,
    end: number,
    sources: readonly Uint8Array[],
    first: number,
    of: number,
  ): void {
    let start = begin;
    while (start < end) {
      const index = table[Math.floor(start / this.blockSize)]!;
      const block = this.written(index);
      const inBlock = start % this.blockSize;
      const rows = Math.min(this.blockSize - inBlock, end - start);
      for (const [slot, { heads, rowBytes }] of this.slots.entries()) {
        for (let head = 0; head < heads; head++) {
          const from = (head * of + start - first) * rowBytes;
          block.set(sources[slot]!.subarray(from, from + rows * rowBytes), this.rowOffset(slot, head, inBlock));
        }
      }
      start += rows;
    }
  }

  /** Copies all of a block. */
  copy(from: number, to: number): void {
    const source = this.blocks[from];
    if (source === undefined) this.written(to).fill(0);
    else this.written(to).set(source);
  }

  private written(index: number): Uint8Array {
    this.stamps[index] = ++this.lastStamp;
    const block = this.blocks[index] ?? new Uint8Array(this.bytesPerBlock);
    this.blocks[index] = block;
    return block;
  }

  private rowOffset(slot: number, head: number, position: number): number {
    return this.offsets[slot]! + (head * this.blockSize + position) * this.slots[slot]!.rowBytes;
  }
}
