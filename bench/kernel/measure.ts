import { setImmediate } from "node:timers/promises";
import { packSettings } from "../../attention/pack.ts";
import { BLOCK_SIZE, bytesPerBlock } from "../../attention/session.ts";
import type { NativeAddon, NativeKernelBench } from "../../attention/types.ts";
import { type Cell, type Family, type Kernel, type StoreCase, shapes } from "./cases.ts";
import { layersOf } from "./layers.ts";

/** What all cells have in common. */
export interface Conditions {
  readonly addon: NativeAddon;
  readonly path: string;
  readonly threads: number;
  readonly rounds: number;
  /** Of the last-level cache, bytes. */
  readonly cacheBytes: number;
  readonly stop: AbortSignal;
  readonly warn: (text: string) => void;
}

/** Times of one kernel over one store. */
export interface Timed {
  readonly kernel: Kernel;
  readonly store: StoreCase;
  readonly layers: number;
  /** Layers x KV heads x sequences of a run. */
  readonly units: number;
  /** What a run reads of the cache. */
  readonly bytes: number;
  /** Of each run, in order. */
  readonly seconds: readonly number[];
}

interface Run extends Timed {
  readonly bench: NativeKernelBench;
  readonly packed: Int32Array;
  readonly seconds: number[];
}

/** The plain loop computes, it does not wait for the memory: its time hardly moves, and it is long. */
const NAIVE_ROUNDS = 2;

/** Memory that the bandwidth is measured on: more than caches hold. */
const BANDWIDTH_BYTES = 2 ** 28;

/** GB a second that the threads read together, now. */
export function readGBps({ addon, threads }: Pick<Conditions, "addon" | "threads">): number {
  return addon.readBandwidth(BANDWIDTH_BYTES, threads) / 1e9;
}

/**
 * Runs the family's kernels in turn, `rounds` times, each from cold caches. Rejects with a MemoryError when the memory does
 * not hold one layer, with the signal's reason when it is aborted.
 */
export async function measureFamily(cell: Cell, family: Family, conditions: Conditions): Promise<Timed[]> {
  const { rounds, cacheBytes, stop, warn } = conditions;
  const perLayer = family.map((store) => bytesPerLayer(cell, store));
  const { counts: layers, wanted } = layersOf(perLayer, cacheBytes, process.availableMemory());
  if (wanted) warn(`the memory is short: layers ${layers.join(", ")} instead of ${wanted.join(", ")}`);
  const benches: NativeKernelBench[] = [];
  try {
    const runs: Run[] = [];
    for (const [i, store] of family.entries()) {
      await pass(stop);
      const bench = openBench(cell, store, layers[i]!, conditions);
      benches.push(bench);
      runs.push(...store.kernels.map((kernel) => prepare(cell, store, kernel, layers[i]!, bench)));
    }
    for (let round = 0; round < rounds; round++) {
      for (const { bench, packed, kernel, seconds } of runs) {
        const naive = kernel.kernel === "naive";
        if (naive && round >= NAIVE_ROUNDS) continue;
        await pass(stop);
        seconds.push(bench.run(packed, naive, true));
      }
    }
    return runs;
  } finally {
    for (const bench of benches) bench.close();
  }
}

/** Lets signals in; native calls do not. */
async function pass(stop: AbortSignal): Promise<void> {
  await setImmediate();
  stop.throwIfAborted();
}

function bytesPerLayer({ shape, context, batch }: Cell, dtypes: StoreCase): number {
  const layer = { layers: 1, kvHeads: shapes[shape].kvHeads, headDim: shapes[shape].headDim };
  return batch * Math.ceil(context / BLOCK_SIZE) * bytesPerBlock(layer, dtypes);
}

function openBench(
  { shape, context, batch }: Cell,
  { dtype, scanDtype }: StoreCase,
  layers: number,
  { addon, path, threads }: Conditions,
): NativeKernelBench {
  const cache = { layers, blockSize: BLOCK_SIZE, dtype, scanDtype };
  return addon.createKernelBench({ path, threads, ...shapes[shape], ...cache, context, batch });
}

/** Counts the bytes, which is the warm-up too. */
function prepare(cell: Cell, store: StoreCase, kernel: Kernel, layers: number, bench: NativeKernelBench): Run {
  const packed = Int32Array.from(packSettings({ attention: kernel.settings, denseUntil: 0 }));
  const { scoreBytes, gatherBytes, denseBytes } = bench.traffic(packed);
  const units = layers * shapes[cell.shape].kvHeads * cell.batch;
  return { kernel, store, layers, units, bytes: scoreBytes + gatherBytes + denseBytes, seconds: [], bench, packed };
}
