/** What is measured at once: a decode step of `batch` sequences with a cache of `context` positions each. */
export interface Cell {
  readonly context: number;
  readonly batch: number;
}

/** What a cell's cache takes. */
export interface CacheSize {
  readonly blockSize: number;
  readonly bytesPerBlock: number;
}

/** Blocks of the prefilled text that all others are copies of; they come first in the store. */
const SOURCE_BLOCKS = 16;
/** Activations, logits, the bandwidth's memory, the runtime. */
const WORKING_BYTES = 2 ** 30;

/** Blocks of a cell's sequences: their positions, and one more for each, where it decodes into. */
export function blocksOf({ context, batch }: Cell, blockSize: number): number {
  return batch * (Math.ceil(context / blockSize) + (context % blockSize === 0 ? 1 : 0));
}

/** Blocks to prefill for these cells: as many as the longest context has, and no more than the model was made for. */
export function sourceBlocks(cells: readonly Cell[], blockSize: number, maxPositions: number): number {
  const longest = Math.max(...cells.map(({ context }) => Math.ceil(context / blockSize)));
  return Math.max(1, Math.min(SOURCE_BLOCKS, longest, Math.floor(maxPositions / blockSize)));
}

/** All of them, the least batch first. */
export function cellsOf(contexts: readonly number[], batches: readonly number[]): Cell[] {
  return batches.flatMap((batch) => contexts.map((context) => ({ context, batch })));
}

export interface Fitting {
  readonly cells: readonly Cell[];
  readonly skipped: readonly { readonly what: string; readonly reason: string }[];
}

/** The cells whose cache fits the memory that is free, beside as much as the weights take twice; and the others, with the numbers. */
export function fitting(cells: readonly Cell[], size: CacheSize, weightBytes: number, freeBytes: number): Fitting {
  const rest = 2 * weightBytes + WORKING_BYTES + SOURCE_BLOCKS * size.bytesPerBlock;
  const needOf = (cell: Cell) => blocksOf(cell, size.blockSize) * size.bytesPerBlock + rest;
  const fits = cells.filter((cell) => needOf(cell) <= freeBytes);
  const skipped = cells
    .filter((cell) => needOf(cell) > freeBytes)
    .map((cell) => ({
      what: nameOf(cell),
      reason: `needs ${gigabytes(needOf(cell))} of memory, ${gigabytes(freeBytes)} are available`,
    }));
  return { cells: fits, skipped };
}

export function nameOf({ context, batch }: Cell): string {
  return `context ${context}, batch ${batch}`;
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`;
}
