import { BLOCK_SIZE } from "../attention/session.ts";
import type { ModelOptions } from "./config.ts";

/** The share of the free memory that the cache takes by default, and the most it takes, in bytes. */
const CACHE_SHARE = 0.25;
const CACHE_MAX_BYTES = 8 * 2 ** 30;

export interface CacheSize {
  readonly blocks: number;
  /** Longest sequence that the model, the wish and the cache allow, in tokens. */
  readonly contextLength: number;
}

/**
 * How many blocks the cache gets: what `megabytes` asks for, else a part of the free memory, but no more than
 * `maxRunning` sequences of full length can fill. Throws if not even one block fits.
 */
export function sizeCache(options: {
  readonly bytesPerBlock: number;
  readonly blockSize: number;
  /** Longest sequence wanted, in tokens. */
  readonly contextLimit: number;
  readonly maxRunning: number;
  readonly megabytes: number | undefined;
  readonly freeBytes: number;
}): CacheSize {
  const { bytesPerBlock, blockSize, contextLimit, maxRunning, megabytes, freeBytes } = options;
  const wanted = megabytes === undefined ? Math.min(CACHE_MAX_BYTES, freeBytes * CACHE_SHARE) : megabytes * 2 ** 20;
  const usable = maxRunning * Math.ceil(contextLimit / blockSize);
  const blocks = Math.min(usable, Math.floor(wanted / bytesPerBlock));
  if (blocks < 1) {
    throw new Error(
      `a cache of ${toMegabytes(wanted)} MB holds no block: one block of ${blockSize} tokens takes ` +
        `${toMegabytes(bytesPerBlock)} MB; set --kv-cache-mb`,
    );
  }
  return { blocks, contextLength: Math.min(contextLimit, blocks * blockSize) };
}

/** The same for a server's options, a model's longest sequence, and the memory that is free now. */
export function servedCache(
  bytesPerBlock: number,
  maxPositions: number,
  { maxContext, maxRunning, kvCacheMb }: Pick<ModelOptions, "maxContext" | "maxRunning" | "kvCacheMb">,
): CacheSize {
  return sizeCache({
    ...{ bytesPerBlock, blockSize: BLOCK_SIZE, maxRunning, megabytes: kvCacheMb },
    contextLimit: Math.min(maxPositions, maxContext ?? maxPositions),
    freeBytes: process.availableMemory(),
  });
}

function toMegabytes(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(1);
}
