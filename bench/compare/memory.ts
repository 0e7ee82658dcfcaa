import type { ModelConfig } from "../../models/types.ts";
import type { PeerMemory } from "./peer.ts";

export interface MemoryRequest {
  readonly config: ModelConfig;
  readonly contexts: readonly number[];
  readonly batches: readonly number[];
  /** Positions that decoding adds. */
  readonly steps: number;
  /** Of sparq's cache. */
  readonly blockSize: number;
  readonly bytesPerBlock: number;
  /** Of the model file. */
  readonly weightBytes: number;
  readonly peers: readonly { readonly name: string; readonly memory: PeerMemory }[];
}

export interface MemoryPlan {
  /** Peers that do not fit at all, and cells of others. */
  readonly skipped: readonly Skipped[];
  /** Names of those that do not fit at all. */
  readonly refused: ReadonlySet<string>;
  readonly runs: (peer: string, context: number, batch: number) => boolean;
}

export interface Skipped {
  readonly what: string;
  readonly reason: string;
}

/** Activations, logits of a chunk and the runtimes: 0.5 GB was measured, a model with a larger vocabulary takes more. */
const WORKING_BYTES = 2 ** 30;

/**
 * Which peers have room beside sparq, in their order: the caches of all are there at the same time, what a peer needs beyond that
 * only while it is timed. Throws, with the numbers, when the largest cell does not fit for sparq alone.
 */
export function planMemory(request: MemoryRequest, available: number): MemoryPlan {
  const { config, contexts, batches, steps, blockSize, bytesPerBlock, weightBytes } = request;
  const context = Math.max(...contexts);
  const batch = Math.max(...batches);
  const largest = { config, positions: context + steps, batch };
  // Its sequences' blocks, and those that all of them are copies of.
  const own = (batch + 1) * Math.ceil(largest.positions / blockSize) * bytesPerBlock;
  // Each side holds the weights as the file has them, and once more rearranged.
  const rest = 4 * weightBytes + WORKING_BYTES;
  if (own + rest > available) {
    throw new Error(
      `context ${context} x batch ${batch} needs ${gigabytes(own + rest)} of memory (${gigabytes(own)} for sparq's cache, ` +
        `${gigabytes(rest)} for the rest), ${gigabytes(available)} are available: take a smaller --context or --batch`,
    );
  }
  const base = own + rest;
  const sizes = contexts.flatMap((cell) => batches.map((sequences) => ({ context: cell, batch: sequences })));
  const skipped: Skipped[] = [];
  const refused = new Set<string>();
  const cells = new Set<string>();
  const cellOf = (name: string, cell: number, sequences: number) => `${name} at context ${cell} x batch ${sequences}`;
  // What a cell that runs in no company needs is not held in company either.
  let held = base;
  for (const { name, memory } of request.peers) {
    const needs = sizes.map((cell) => {
      const of = { config, positions: cell.context + steps, batch: cell.batch };
      return { ...cell, held: memory.held(of), transient: memory.transient(of) };
    });
    const alone = needs.filter((cell) => base + cell.held + cell.transient <= available);
    const needed = Math.max(0, ...alone.map((cell) => cell.held));
    if (alone.length > 0 && held + needed <= available) {
      held += needed;
      continue;
    }
    refused.add(name);
    const [least] = needs.sort((a, b) => a.held + a.transient - b.held - b.transient);
    const reason = alone.length > 0 ? needed : least!.held + least!.transient;
    skipped.push({
      what: name,
      reason: `it needs ${gigabytes(reason)}, ${gigabytes(available - held)} of memory are left`,
    });
  }
  for (const { name, memory } of request.peers) {
    if (refused.has(name)) continue;
    for (const { context: cell, batch: sequences } of sizes) {
      const of = { config, positions: cell + steps, batch: sequences };
      const transient = memory.transient(of);
      const together = held + transient <= available;
      if (together && base + memory.held(of) + transient <= available) continue;
      const what = cellOf(name, cell, sequences);
      cells.add(what);
      const needed = together ? memory.held(of) + transient : transient;
      const left = available - (together ? base : held);
      skipped.push({ what, reason: `it needs ${gigabytes(needed)} there, ${gigabytes(left)} of memory are left` });
    }
  }
  // Sparq is in no list, and runs.
  const runs = (name: string, cell: number, sequences: number) => !cells.has(cellOf(name, cell, sequences));
  return { skipped, refused, runs };
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`;
}
