import { createHash } from "node:crypto";

/** SHA-256 of a block's tokens and of all before it, as a 32-character binary string. */
export type PrefixKey = string;

/**
 * The keys of a prompt's full blocks, hashed when first asked for.
 *
 * key(i) = SHA-256(key(i - 1), tokens of block i as little-endian int32), key(-1) = SHA-256(salt). Equal keys mean equal
 * tokens at equal positions, up to a collision of SHA-256, which nobody has found: a hit needs no further comparison.
 */
export class PrefixChain {
  /** Full blocks of the prompt; a partial last block has no key. */
  readonly length: number;
  private readonly tokens: readonly number[];
  private readonly blockSize: number;
  private readonly keys: PrefixKey[] = [];
  private readonly root: PrefixKey;

  /** Prompts of different salts share nothing. `tokens` is read later and must not change. */
  constructor(tokens: readonly number[], blockSize: number, salt = "") {
    this.tokens = tokens;
    this.blockSize = blockSize;
    this.length = Math.floor(tokens.length / blockSize);
    this.root = createHash("sha256").update(salt, "utf8").digest("binary");
  }

  /** Key of block `index`. Throws RangeError outside 0..length - 1. */
  key(index: number): PrefixKey {
    if (!(index >= 0 && index < this.length)) throw new RangeError(`no full block ${index} of ${this.length}`);
    for (let i = this.keys.length; i <= index; i++) {
      const tokens = Int32Array.from(this.tokens.slice(i * this.blockSize, (i + 1) * this.blockSize));
      const parent = this.keys[i - 1] ?? this.root;
      this.keys.push(createHash("sha256").update(parent, "latin1").update(tokens).digest("binary"));
    }
    return this.keys[index]!;
  }
}

/**
 * Which block holds which prompt prefix: a one-to-one map of keys and blocks. It knows no reference counts; who evicts a
 * block must `forget` it.
 *
 * Only blocks full of prompt positions may enter. Prompts attend densely whatever a request's settings, so their K and V
 * depend on the tokens alone and equal, bit for bit, what computing them again would give; generated positions do not.
 */
export class PrefixCache {
  private readonly blocks = new Map<PrefixKey, number>();
  private readonly keys = new Map<number, PrefixKey>();

  /** The block that holds this prefix, if any. Does not mutate. */
  find(key: PrefixKey): number | undefined {
    return this.blocks.get(key);
  }

  /** Whether the block holds a known prefix. Does not mutate. */
  has(block: number): boolean {
    return this.keys.has(block);
  }

  /**
   * Says that `block` now holds the prefix. Mutates, unless another block holds it already (two requests computed the same
   * prompt at once): then false, and the block stays unknown. Throws Error if the block is known under another key.
   */
  register(key: PrefixKey, block: number): boolean {
    const holder = this.blocks.get(key);
    if (holder !== undefined) return holder === block;
    if (this.keys.has(block)) throw new Error(`block ${block} already holds another prefix`);
    this.blocks.set(key, block);
    this.keys.set(block, key);
    return true;
  }

  /** Forgets what the block holds. Mutates. Throws nothing: an unknown block is fine. */
  forget(block: number): void {
    const key = this.keys.get(block);
    if (key === undefined) return;
    this.keys.delete(block);
    this.blocks.delete(key);
  }

  /** Copies. Does not mutate. */
  snapshot(): (readonly [PrefixKey, number])[] {
    return [...this.blocks];
  }
}
