import { randomInt } from "node:crypto";

/** Longest and shortest run of last tokens that is looked for. */
export const LONGEST_MATCH = 4;
export const SHORTEST_MATCH = 2;

/** Tokens that may come next, guessed from the text so far. */
export interface Draft {
  readonly tokens: readonly number[];
  /** How many last tokens were found earlier in the text; 0 for an empty draft. */
  readonly match: number;
}

const NO_DRAFT: Draft = { tokens: [], match: 0 };

/** Where hashes begin: a secret, so that nobody can write a prompt whose runs all fall on one slot. */
const HASH_SEED = randomInt(2 ** 32);

/**
 * Where in a text that grows each run of `size` tokens last ended, but for the run at the text's very end, which nothing
 * follows yet. A hash table of places in the text, not of copies of it; adding a token is O(1) amortised.
 */
class RunIndex {
  readonly size: number;
  private readonly text: readonly number[];
  /** Open addressing: 1 + the place of a run's last token, 0 for an empty slot. */
  private slots = new Int32Array(64);
  private used = 0;
  private next: number;

  constructor(text: readonly number[], size: number) {
    this.text = text;
    this.size = size;
    this.next = size - 1;
  }

  /** The place of the last token of the latest run equal to that at the text's end; -1 for none. Mutates: catches up. */
  latest(): number {
    const end = this.text.length - 1;
    if (end < this.size - 1) return -1;
    for (; this.next < end; this.next++) this.add(this.next);
    return this.slots[this.find(end)]! - 1;
  }

  private add(end: number): void {
    if (2 * this.used >= this.slots.length) this.grow();
    const slot = this.find(end);
    if (this.slots[slot] === 0) this.used += 1;
    this.slots[slot] = end + 1;
  }

  /** The slot of the run that ends there, or the empty one where it belongs. */
  private find(end: number): number {
    const { slots, text, size } = this;
    let hash = HASH_SEED;
    for (let i = end - size + 1; i <= end; i++) hash = Math.imul(hash ^ text[i]!, 0x9e3779b1) ^ (hash >>> 15);
    const mask = slots.length - 1;
    for (let slot = (hash ^ (hash >>> 16)) & mask; ; slot = (slot + 1) & mask) {
      const entry = slots[slot]!;
      if (entry === 0 || this.same(entry - 1, end)) return slot;
    }
  }

  private same(a: number, b: number): boolean {
    for (let i = 0; i < this.size; i++) if (this.text[a - i] !== this.text[b - i]) return false;
    return true;
  }

  private grow(): void {
    const entries = this.slots;
    this.slots = new Int32Array(2 * entries.length);
    for (const entry of entries) if (entry !== 0) this.slots[this.find(entry - 1)] = entry;
  }
}

/**
 * Drafts by prompt lookup: what followed the last few tokens when they last stood in the text. Costs no model, and is right
 * where an answer quotes, lists, rewrites or repeats.
 *
 * Reads `text`, which only ever grows at its end, when it is asked; before that it costs nothing.
 */
export class Drafter {
  private readonly text: readonly number[];
  private readonly indexes: readonly RunIndex[];

  constructor(text: readonly number[]) {
    this.text = text;
    const sizes = Array.from({ length: LONGEST_MATCH - SHORTEST_MATCH + 1 }, (_, i) => LONGEST_MATCH - i);
    this.indexes = sizes.map((size) => new RunIndex(text, size));
  }

  /**
   * At most `most` tokens that followed the latest occurrence of the longest run of last tokens that occurred before. One
   * that runs into the text's end goes on with itself, so a loop is continued for as long as asked. Mutates the index only.
   */
  propose(most: number): Draft {
    // All catch up, lest one that is rarely asked has much to do at once.
    const ends = this.indexes.map((index) => index.latest());
    const found = ends.findIndex((end) => end >= 0);
    if (most < 1 || found < 0) return NO_DRAFT;
    const { text } = this;
    const first = ends[found]! + 1;
    const tokens: number[] = [];
    for (let i = 0; i < most; i++)
      tokens.push(first + i < text.length ? text[first + i]! : tokens[first + i - text.length]!);
    return { tokens, match: this.indexes[found]!.size };
  }
}
