import { readdirSync, readFileSync } from "node:fs";

/** Of a last-level cache whose size the system does not say. */
export const ASSUMED_CACHE_BYTES = 32 * 2 ** 20;

/** A store holds this many times what the last-level cache does. */
const CACHE_MULTIPLE = 4;

/** And at least this much, from where on the system gives it large pages, as it does a server's cache. */
const LEAST_BYTES = 2 ** 28;

/** Beside the stores: what is read to empty the caches, the bandwidth's memory, noise. */
const WORKING_BYTES = 2 ** 30;

/** Not even one layer fits the memory. */
export class MemoryError extends Error {
  override readonly name = "MemoryError";
}

export interface Layers {
  /** Of each store. */
  readonly counts: readonly number[];
  /** What would have been enough, where the memory is short of it. */
  readonly wanted?: readonly number[];
}

/**
 * Layers of stores that are open at once: so many that each of them is well beyond the last-level cache, or fewer, all in
 * proportion, where the memory is short of that; at least 1. Throws MemoryError, with the numbers, if not even that fits.
 */
export function layersOf(bytesPerLayer: readonly number[], cacheBytes: number, freeBytes: number): Layers {
  const usable = freeBytes - WORKING_BYTES;
  const least = bytesPerLayer.reduce((sum, bytes) => sum + bytes, 0);
  if (least > usable) {
    const [need, free] = [least + WORKING_BYTES, freeBytes].map((bytes) => `${(bytes / 1e9).toFixed(1)} GB`);
    throw new MemoryError(`needs ${need} of memory for one layer, ${free} are available`);
  }
  const target = Math.max(CACHE_MULTIPLE * cacheBytes, LEAST_BYTES);
  const wanted = bytesPerLayer.map((bytes) => Math.ceil(target / bytes));
  const total = wanted.reduce((sum, layers, i) => sum + layers * bytesPerLayer[i]!, 0);
  if (total <= usable) return { counts: wanted };
  // A layer of each is there in any case; what is left is shared out.
  const share = (usable - least) / (total - least);
  return { counts: wanted.map((layers) => 1 + Math.floor((layers - 1) * share)), wanted };
}

/** Bytes of the largest cache that the first core sees; ASSUMED_CACHE_BYTES where the system does not say. */
export function lastLevelCache(folder = "/sys/devices/system/cpu/cpu0/cache"): number {
  try {
    const sizes = readdirSync(folder)
      .filter((name) => /^index\d+$/.test(name))
      .map((name) => /^(\d+)K$/.exec(readFileSync(`${folder}/${name}/size`, "utf8").trim())?.[1]);
    const largest = Math.max(...sizes.map((kilobytes) => Number(kilobytes ?? 0) * 1024));
    return largest > 0 ? largest : ASSUMED_CACHE_BYTES;
  } catch {
    return ASSUMED_CACHE_BYTES;
  }
}
