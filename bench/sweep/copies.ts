import { setImmediate } from "node:timers/promises";
import type { Session } from "../../attention/session.ts";
import type { AttentionSettings } from "../../attention/types.ts";
import { blocksOf, type Cell } from "./plan.ts";

const PREFILL_CHUNK = 512;
/** Blocks that are copied before signals are let in. */
const COPIES_AT_ONCE = 64;
const NOTHING = -1;

type Copied = Pick<Session, "blockSize" | "blocks" | "copyBlock">;

/**
 * A cache of any length without its prefill: a text's blocks stand at the beginning of the store, and block i of every sequence is a
 * copy of block i modulo their number, in memory of its own. A step reads as many bytes, from as many places, as over a cache that was
 * prefilled whole; keys beyond the text have the rope of their place in the text.
 */
export class CopiedCache {
  private readonly session: Copied;
  private readonly sources: number;
  /** For each block, the one that it is a copy of. */
  private readonly holds: Int32Array;

  /** The first `sources` blocks must be full, and be left alone. */
  constructor(session: Copied, sources: number) {
    this.session = session;
    this.sources = sources;
    this.holds = new Int32Array(session.blocks).fill(NOTHING);
  }

  /** The block tables of a cell's sequences, filled. What decoding wrote into the tables given before is forgotten. */
  async tablesOf(cell: Cell, stop: AbortSignal): Promise<number[][]> {
    const { blockSize, blocks } = this.session;
    if (this.sources + blocksOf(cell, blockSize) > blocks) {
      throw new RangeError(`${blocksOf(cell, blockSize)} blocks and ${this.sources} do not fit a store of ${blocks}`);
    }
    // Rows are written into the last block of each: into a fresh one, at the store's end, where the others are full.
    const own = Math.ceil(cell.context / blockSize);
    const full = Math.floor(cell.context / blockSize);
    const stride = this.strideOf(cell, own);
    let copies = 0;
    const tables: number[][] = [];
    for (let sequence = 0; sequence < cell.batch; sequence++) {
      const first = this.sources + sequence * stride;
      const table = Array.from({ length: own }, (_, i) => first + i);
      for (const [i, block] of table.entries()) {
        if (this.holds[block] === i % this.sources) continue;
        this.session.copyBlock(i % this.sources, block);
        this.holds[block] = i % this.sources;
        if (++copies % COPIES_AT_ONCE === 0) await setImmediate();
        stop.throwIfAborted();
      }
      if (full === own) table.push(blocks - 1 - sequence);
      this.holds[table[full]!] = NOTHING;
      tables.push(table);
    }
    return tables;
  }

  /** Blocks from one sequence to the next: a whole number of texts if there is room, so that all cells find the same copies there. */
  private strideOf({ context, batch }: Cell, own: number): number {
    const whole = Math.ceil(own / this.sources) * this.sources;
    const fresh = context % this.session.blockSize === 0 ? batch : 0;
    return this.sources + (batch - 1) * whole + own + fresh <= this.session.blocks ? whole : own;
  }
}

/** Runs the tokens, a whole number of blocks, densely into the store's first blocks. */
export async function prefill(session: Session, tokens: readonly number[], attention: AttentionSettings) {
  const dense: AttentionSettings = { ...attention, mode: "dense" };
  for (let start = 0; start < tokens.length; start += PREFILL_CHUNK) {
    const tokenIds = tokens.slice(start, start + PREFILL_CHUNK);
    const blocks = Math.ceil((start + tokenIds.length) / session.blockSize);
    const blockTable = Array.from({ length: blocks }, (_, block) => block);
    const row = { tokenIds, contextLength: start, blockTable, attention: dense, denseUntil: tokens.length };
    await session.step([{ ...row, logits: "none" }]);
  }
}
