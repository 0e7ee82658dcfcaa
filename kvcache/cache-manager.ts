import { type BlockCounts, BlockPool, OutOfBlocksError } from "./block-pool.ts";
import type { CacheSnapshot } from "./invariants.ts";
import { PrefixCache, PrefixChain, type PrefixKey } from "./prefix-cache.ts";

export interface CacheOptions {
  /** Blocks of the store. */
  readonly blocks: number;
  /** Positions of a block. */
  readonly blockSize: number;
  /** Blocks that admission leaves alone while others run, so that they can grow; default 1 % of all, rounded up. */
  readonly watermark?: number;
  /** Keep and share blocks of prompts; default true. */
  readonly prefixCaching?: boolean;
}

/** A block whose content another one must have before anything is written to it. */
export interface BlockCopy {
  readonly from: number;
  readonly to: number;
}

interface Table {
  readonly blocks: number[];
  readonly chain: PrefixChain;
  /** Whether it may be served from the prefix cache; what it computes is shared all the same. */
  readonly reuse: boolean;
  /** Leading blocks that were offered to the prefix cache. */
  offered: number;
}

/**
 * Block tables of all requests, over one pool and one prefix cache. A table opens empty, takes blocks by `adopt` and
 * `reserve`, and gives them back by `release`. Positions are counted from the start of the prompt.
 */
export class CacheManager {
  readonly blockSize: number;
  readonly watermark: number;
  private readonly pool: BlockPool;
  private readonly prefixes = new PrefixCache();
  private readonly tables = new Map<string, Table>();
  private readonly prefixCaching: boolean;

  /** Throws RangeError for sizes below 1. */
  constructor(options: CacheOptions) {
    if (!Number.isSafeInteger(options.blockSize) || options.blockSize < 1) {
      throw new RangeError(`a block holds at least 1 position, got ${options.blockSize}`);
    }
    this.pool = new BlockPool(options.blocks);
    this.blockSize = options.blockSize;
    this.watermark = options.watermark ?? Math.ceil(options.blocks / 100);
    this.prefixCaching = options.prefixCaching ?? true;
  }

  get counts(): BlockCounts {
    return this.pool.counts;
  }

  /** Blocks that can be had: free ones and cached ones. */
  get available(): number {
    const { free, cached } = this.pool.counts;
    return free + cached;
  }

  /** Blocks that hold this many positions. */
  blocksFor(positions: number): number {
    return Math.ceil(positions / this.blockSize);
  }

  /**
   * Opens an empty table for a request. Mutates. `salt` separates requests that must not share; without `reuse` the table
   * gets no cached block, for a prompt that must be computed. Throws Error if the id has a table.
   */
  open(id: string, promptIds: readonly number[], salt?: string, reuse = true): void {
    if (this.tables.has(id)) throw new Error(`request ${id} already has a block table`);
    this.tables.set(id, { blocks: [], chain: new PrefixChain(promptIds, this.blockSize, salt), reuse, offered: 0 });
  }

  /** Gives back the table's blocks, last first so that a prefix outlives what follows it; the table stays open. Mutates. */
  release(id: string): void {
    const table = this.table(id);
    for (const block of table.blocks.reverse()) this.pool.release(block, this.prefixes.has(block));
    table.blocks.length = 0;
    table.offered = 0;
  }

  /** Releases and forgets the table. Mutates. Throws Error for an unknown id. */
  close(id: string): void {
    this.release(id);
    this.tables.delete(id);
  }

  /** The blocks of the first `positions` positions, in order: a copy. Throws Error if the table does not reach so far. */
  blockTable(id: string, positions: number): number[] {
    const { blocks } = this.table(id);
    const needed = this.blocksFor(positions);
    if (blocks.length < needed)
      throw new Error(`request ${id}: ${needed} blocks wanted, its table has ${blocks.length}`);
    return blocks.slice(0, needed);
  }

  /**
   * Cached blocks that hold the prompt's positions from block `from` on, without a gap. Never the block of position
   * `positions - 1`: its logits must be computed. Does not mutate.
   */
  longestCachedPrefix(id: string, positions: number, from = 0): number[] {
    const { chain, reuse } = this.table(id);
    const limit = this.shareable(chain, positions);
    const hits: number[] = [];
    for (let i = from; this.prefixCaching && reuse && i < limit; i++) {
      const block = this.prefixes.find(chain.key(i));
      if (block === undefined) break;
      hits.push(block);
    }
    return hits;
  }

  /**
   * Key of the page that holds `position`, if a request of `positions` tokens would take it from the prefix cache were it
   * there. Does not mutate.
   */
  sharedPageKey(id: string, position: number, positions: number): PrefixKey | undefined {
    const { chain, reuse } = this.table(id);
    const page = Math.floor(position / this.blockSize);
    const shared = this.prefixCaching && reuse && page < this.shareable(chain, positions);
    return shared ? chain.key(page) : undefined;
  }

  /**
   * Available blocks that an empty table would use up to hold `positions`, cached prefix included, once the tables
   * `released` have been. Does not mutate.
   */
  cost(id: string, positions: number, released: readonly string[] = []): number {
    const hits = this.longestCachedPrefix(id, positions);
    const idle = this.idleAfter(hits, released);
    return this.blocksFor(positions) - hits.length + idle;
  }

  /**
   * Whether an empty table could get `positions`, leaving the watermark alone if others run, once the tables `released`
   * have been. Does not mutate.
   */
  canAdmit(id: string, positions: number, othersRun: boolean, released: readonly string[] = []): boolean {
    const owned = new Set(released.flatMap((other) => this.table(other).blocks));
    const freed = this.idleAfter([...owned], released);
    return this.cost(id, positions, released) + (othersRun ? this.watermark : 0) <= this.available + freed;
  }

  /**
   * Puts cached blocks in the place of those not computed yet, as far as the prefix cache knows the prompt; `computed`
   * positions are there already. Returns the positions that are there now. Mutates. Throws Error for an unknown id.
   */
  adopt(id: string, computed: number, positions: number): number {
    const { blocks } = this.table(id);
    const first = Math.floor(computed / this.blockSize);
    const hits = this.longestCachedPrefix(id, positions, first);
    if (hits.length === 0) return computed;
    for (const [i, hit] of hits.entries()) {
      const own = blocks[first + i];
      this.pool.retain(hit);
      blocks[first + i] = hit;
      if (own !== undefined) this.pool.release(own, this.prefixes.has(own));
    }
    return (first + hits.length) * this.blockSize;
  }

  /**
   * Lets an empty table hold the first `positions` positions of another one, which begin with the same prompt: their blocks
   * are shared, the last one too though it may be filled by half. Takes no block from the pool. Mutates. Throws Error for a
   * table that is not empty, or one that holds fewer positions.
   */
  fork(from: string, to: string, positions: number): void {
    const source = this.table(from);
    const target = this.table(to);
    if (target.blocks.length > 0) throw new Error(`request ${to} has blocks already`);
    target.blocks.push(...this.blockTable(from, positions));
    for (const block of target.blocks) this.pool.retain(block);
    target.offered = Math.min(source.offered, target.blocks.length);
  }

  /** Whether `reserve` would succeed. Does not mutate. */
  canReserve(id: string, positions: number, writeFrom = positions): boolean {
    return this.neededBlocks(id, positions, writeFrom) <= this.available;
  }

  /**
   * Lengthens the table to hold `positions`, evicting cached blocks when none is free. Positions from `writeFrom` on will be
   * written: if others hold the first of their blocks too, the table gets a copy of its own. Returns the copies to make, in
   * order and before anything is written. Mutates, all or nothing. Throws OutOfBlocksError.
   */
  reserve(id: string, positions: number, writeFrom = positions): BlockCopy[] {
    const { blocks } = this.table(id);
    const needed = this.neededBlocks(id, positions, writeFrom);
    if (needed > this.available) throw new OutOfBlocksError(needed, this.available);
    const copies: BlockCopy[] = [];
    const shared = this.sharedPage(blocks, writeFrom);
    if (shared !== null) {
      const from = blocks[shared]!;
      const to = this.takeBlock();
      blocks[shared] = to;
      this.pool.release(from, this.prefixes.has(from));
      copies.push({ from, to });
    }
    while (blocks.length < this.blocksFor(positions)) blocks.push(this.takeBlock());
    return copies;
  }

  /** Says that the first `positions` positions are computed: full blocks of the prompt may be shared from now on. Mutates. */
  markComputed(id: string, positions: number): void {
    const table = this.table(id);
    const full = Math.min(table.chain.length, Math.floor(positions / this.blockSize));
    if (!this.prefixCaching) return;
    for (let i = table.offered; i < full; i++) this.prefixes.register(table.chain.key(i), table.blocks[i]!);
    table.offered = Math.max(table.offered, full);
  }

  /** Copies everything, for `checkInvariants`. Does not mutate. */
  snapshot(): CacheSnapshot {
    const tables = [...this.tables].map(([id, table]) => ({ id, blocks: [...table.blocks] }));
    return { ...this.pool.snapshot(), prefixes: this.prefixes.snapshot(), tables };
  }

  private neededBlocks(id: string, positions: number, writeFrom: number): number {
    const { blocks } = this.table(id);
    const copies = this.sharedPage(blocks, writeFrom) === null ? 0 : 1;
    return Math.max(0, this.blocksFor(positions) - blocks.length) + copies;
  }

  /** The page that `writeFrom` is in, if the table has it and must not write there: others hold it, or will find it. */
  private sharedPage(blocks: readonly number[], writeFrom: number): number | null {
    const page = Math.floor(writeFrom / this.blockSize);
    const block = blocks[page];
    if (block === undefined) return null;
    return this.pool.refCount(block) > 1 || this.prefixes.has(block) ? page : null;
  }

  private takeBlock(): number {
    if (this.pool.counts.free === 0) this.prefixes.forget(this.pool.evictOldest());
    return this.pool.allocate();
  }

  /** Leading pages that may come from the prefix cache: the last position is always computed. */
  private shareable(chain: PrefixChain, positions: number): number {
    return Math.min(chain.length, Math.floor((positions - 1) / this.blockSize));
  }

  /** How many of the blocks nobody holds once these tables are released. */
  private idleAfter(blocks: readonly number[], released: readonly string[]): number {
    const holders = new Map<number, number>();
    for (const block of released.flatMap((id) => this.table(id).blocks)) {
      holders.set(block, (holders.get(block) ?? 0) + 1);
    }
    return blocks.filter((block) => this.pool.refCount(block) === (holders.get(block) ?? 0)).length;
  }

  private table(id: string): Table {
    const table = this.tables.get(id);
    if (table === undefined) throw new Error(`request ${id} has no block table`);
    return table;
  }
}
