import type { CacheDtype, ScanDtype } from "../../attention/types.ts";
import type { Machine } from "../machine.ts";
import { median } from "../statistics.ts";
import { type Cell, type Kernel, shapes } from "./cases.ts";
import type { Timed } from "./measure.ts";

export interface KernelResult {
  readonly kernel: Kernel["kernel"];
  readonly shape: string;
  /** Positions of each sequence. */
  readonly S: number;
  readonly batch: number;
  readonly kvHeads: number;
  readonly groupSize: number;
  readonly headDim: number;
  /** Of SparQ; null otherwise, and so the next three. */
  readonly r: number | null;
  readonly k: number | null;
  readonly meanValue: boolean | null;
  /** 0: exact. */
  readonly bucketTopK: number | null;
  readonly dtype: CacheDtype;
  /** Of the keys that SparQ scans. */
  readonly scanDtype: ScanDtype;
  readonly layers: number;
  /** Median time for each layer, KV head and sequence, microseconds: that of a run divided by their number. */
  readonly us: number;
  /** The quickest run's. */
  readonly leastUs: number;
  /** Read of the cache for each layer, KV head and sequence. */
  readonly bytes: number;
  readonly GBps: number;
  /** What the memory gave right before. */
  readonly readGBps: number;
  /** Times faster than the dense kernel on the same dtype, in the same rounds. */
  readonly vsDense: number;
  /** Times faster than the plain loop on f32; null where that was not run. */
  readonly vsNaive: number | null;
  readonly rounds: number;
}

/** Cells that were left out, or got fewer layers, and why. */
export interface Skipped extends Cell {
  readonly stores: string;
  readonly reason: string;
}

export interface KernelReport {
  readonly machine: Machine & { readonly path: string; readonly lastLevelCacheBytes: number };
  /** Median of what was measured between the kernels, and its range. */
  readonly readGBps: number;
  readonly readGBpsRange: readonly [number, number];
  readonly versions: Readonly<Record<string, string>>;
  readonly command: string;
  readonly seconds: number;
  readonly results: readonly KernelResult[];
  readonly skipped: readonly Skipped[];
}

/** Results of a family; `vsNaive` is filled in when the whole cell is measured. Its first dense kernel is the measure. */
export function resultsOf(cell: Cell, timed: readonly Timed[], readGBps: number): KernelResult[] {
  const usOf = ({ seconds, units }: Timed) => (median(seconds) * 1e6) / units;
  const dense = timed.find(({ kernel }) => kernel.kernel === "dense")!;
  return timed.map((run) => {
    const { kernel, store, layers, units, seconds } = run;
    const { r, k, meanValue, bucketTopK = 0 } = kernel.settings;
    const none = { r: null, k: null, meanValue: null, bucketTopK: null };
    const us = usOf(run);
    const bytes = run.bytes / units;
    return {
      kernel: kernel.kernel,
      ...{ shape: cell.shape, S: cell.context, batch: cell.batch, ...shapes[cell.shape] },
      ...(kernel.kernel === "sparq" ? { r, k, meanValue, bucketTopK } : none),
      ...{ dtype: store.dtype, scanDtype: store.scanDtype, layers },
      ...{ us, leastUs: (Math.min(...seconds) * 1e6) / units, bytes, GBps: bytes / us / 1e3, readGBps },
      ...{ vsDense: usOf(dense) / us, vsNaive: null, rounds: seconds.length },
    };
  });
}

/** The results of a cell with their ratios to its plain loop, if that is among them. */
export function withNaive(results: readonly KernelResult[]): KernelResult[] {
  const naive = results.find(({ kernel }) => kernel === "naive");
  return results.map((result) => ({ ...result, vsNaive: naive ? naive.us / result.us : null }));
}

/** Tables for a terminal, in Markdown: one for each cell. */
export function formatReport({ machine, readGBps, readGBpsRange, results }: KernelReport): string {
  const [low, high] = readGBpsRange.map((value) => value.toFixed(1));
  const lines = [
    `${machine.cpu}, ${machine.path}, ${machine.threads} threads; memory read at ${readGBps.toFixed(1)} GB/s (${low} to ${high})`,
    "us: for each layer, KV head and sequence; from cold caches",
  ];
  for (const [i, result] of results.entries()) {
    const { shape, S, batch, kvHeads, groupSize, headDim } = result;
    const before = results[i - 1];
    if (before?.shape !== shape || before.S !== S || before.batch !== batch) {
      lines.push("", `${shape}: ${kvHeads} KV heads x ${groupSize}, head size ${headDim}; S ${S}, batch ${batch}`, "");
      lines.push(
        "| kernel | cache | us | KB read | GB/s | of memory's | vs dense | vs naive |",
        "|---|---|---|---|---|---|---|---|",
      );
    }
    lines.push(rowOf(result));
  }
  return `${lines.join("\n")}\n`;
}

function rowOf(result: KernelResult): string {
  const { kernel, r, k, meanValue, bucketTopK, dtype, scanDtype, us, bytes, GBps, readGBps, vsDense, vsNaive } = result;
  const details = [kernel, r && `r ${r} k ${k}`, meanValue && "mean", bucketTopK && `buckets ${bucketTopK}`];
  const times = (ratio: number | null) => (ratio === null ? "" : `${ratio.toFixed(ratio < 10 ? 2 : 1)}x`);
  const cells = [
    details.filter(Boolean).join(" "),
    kernel === "sparq" ? `${dtype}, scan ${scanDtype}` : dtype,
    ...[
      us.toFixed(us < 100 ? 2 : 0),
      (bytes / 1e3).toFixed(0),
      GBps.toFixed(1),
      `${((100 * GBps) / readGBps).toFixed(0)} %`,
    ],
    ...[times(vsDense), times(vsNaive)],
  ];
  return `| ${cells.join(" | ")} |`;
}
