/** Thrown when the pool cannot give what is asked; nothing has changed then. */
export class OutOfBlocksError extends Error {
  override readonly name = "OutOfBlocksError";
  readonly needed: number;
  readonly available: number;

  constructor(needed: number, available: number) {
    super(`needs ${needed} blocks, ${available} free`);
    this.needed = needed;
    this.available = available;
  }
}

export interface BlockCounts {
  readonly total: number;
  /** Held by nobody, content worthless. */
  readonly free: number;
  /** Held by nobody, content worth keeping until the space is needed. */
  readonly cached: number;
  /** Held by at least one table. */
  readonly owned: number;
}

/** The pool's whole state, copied. */
export interface PoolSnapshot {
  readonly total: number;
  readonly free: readonly number[];
  /** Oldest first. */
  readonly cached: readonly number[];
  /** [total] */
  readonly refCounts: readonly number[];
}

const UNLINKED = -1;

/**
 * Reference counts of the store's blocks. A block is free, cached or owned; every operation but `snapshot` is O(1).
 * Cached blocks stand in a list, least recently used first, linked through arrays (a JavaScript Map that is emptied from
 * its front is linear in what was deleted).
 */
export class BlockPool {
  readonly total: number;
  private readonly refs: Int32Array;
  private readonly freeStack: Int32Array;
  private freeCount: number;
  // A ring through the cached blocks; index `total` is its head: newer[total] is the oldest, older[total] the newest.
  private readonly newer: Int32Array;
  private readonly older: Int32Array;
  private cachedCount = 0;

  /** Throws RangeError unless `total` is a positive integer. */
  constructor(total: number) {
    if (!Number.isSafeInteger(total) || total < 1) throw new RangeError(`a pool needs at least 1 block, got ${total}`);
    this.total = total;
    this.refs = new Int32Array(total);
    this.freeStack = Int32Array.from({ length: total }, (_, i) => total - 1 - i);
    this.freeCount = total;
    this.newer = new Int32Array(total + 1).fill(UNLINKED);
    this.older = new Int32Array(total + 1).fill(UNLINKED);
    this.newer[total] = total;
    this.older[total] = total;
  }

  get counts(): BlockCounts {
    const { total, freeCount: free, cachedCount: cached } = this;
    return { total, free, cached, owned: total - free - cached };
  }

  /** Tables that hold the block. Throws RangeError for an id outside the pool. */
  refCount(block: number): number {
    const count = this.refs[block];
    if (count === undefined) throw new RangeError(`block ${block} is outside the pool of ${this.total}`);
    return count;
  }

  /** Takes a free block and holds it once. Mutates. Throws OutOfBlocksError when none is free, cached ones or not. */
  allocate(): number {
    if (this.freeCount === 0) throw new OutOfBlocksError(1, 0);
    this.freeCount -= 1;
    const block = this.freeStack[this.freeCount]!;
    this.refs[block] = 1;
    return block;
  }

  /** Holds an owned or cached block once more. Mutates. Throws Error for a free block: its content is worthless. */
  retain(block: number): void {
    if (this.refCount(block) === 0) {
      if (this.newer[block] === UNLINKED) throw new Error(`block ${block} is free and cannot be shared`);
      this.unlink(block);
    }
    this.refs[block] = this.refs[block]! + 1;
  }

  /**
   * Lets go of a block once; the last one to do so makes it cached (as the most recently used) if `keep`, else free.
   * Mutates. Throws Error for a block that nobody holds.
   */
  release(block: number, keep: boolean): void {
    const count = this.refCount(block);
    if (count === 0) throw new Error(`block ${block} is released but nobody holds it`);
    this.refs[block] = count - 1;
    if (count > 1) return;
    if (keep) this.linkNewest(block);
    else this.push(block);
  }

  /** Frees the least recently used cached block and names it. Mutates. Throws OutOfBlocksError when none is cached. */
  evictOldest(): number {
    const block = this.newer[this.total]!;
    if (block === this.total) throw new OutOfBlocksError(1, 0);
    this.unlink(block);
    this.push(block);
    return block;
  }

  /** Does not mutate. O(total). */
  snapshot(): PoolSnapshot {
    const cached: number[] = [];
    for (let b = this.newer[this.total]!; b !== this.total; b = this.newer[b]!) cached.push(b);
    const free = Array.from(this.freeStack.subarray(0, this.freeCount));
    return { total: this.total, free, cached, refCounts: Array.from(this.refs) };
  }

  private push(block: number): void {
    this.freeStack[this.freeCount] = block;
    this.freeCount += 1;
  }

  private linkNewest(block: number): void {
    const head = this.total;
    const last = this.older[head]!;
    this.newer[last] = block;
    this.older[block] = last;
    this.newer[block] = head;
    this.older[head] = block;
    this.cachedCount += 1;
  }

  private unlink(block: number): void {
    const before = this.older[block]!;
    const after = this.newer[block]!;
    this.newer[before] = after;
    this.older[after] = before;
    this.newer[block] = UNLINKED;
    this.older[block] = UNLINKED;
    this.cachedCount -= 1;
  }
}
