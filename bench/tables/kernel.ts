import type { KernelReport } from "../kernel/report.ts";
import { markdownTable } from "./markdown.ts";

/** Dense attention beside SparQ's at r 16, k 128, over an f16 cache with int8 keys to scan. */
export function kernelTable(report: KernelReport): string {
  const of = report.results.filter(({ shape, dtype }) => shape === "smollm2-135m" && dtype === "f16");
  const rows = of.flatMap((dense) => {
    if (dense.kernel !== "dense") return [];
    const sparq = of.find(
      ({ kernel, S, batch, r, k, bucketTopK, meanValue }) =>
        kernel === "sparq" &&
        S === dense.S &&
        batch === dense.batch &&
        r === 16 &&
        k === 128 &&
        !bucketTopK &&
        !meanValue,
    );
    if (sparq === undefined) return [];
    const times = [dense.us, sparq.us].map((us) => us.toPrecision(3));
    const speeds = [dense.GBps, sparq.GBps].map((speed) => speed!.toFixed(1));
    const ratio = `${(dense.us / sparq.us).toFixed(1)}x`;
    return [[dense.S, dense.batch, times[0]!, speeds[0]!, times[1]!, speeds[1]!, ratio]];
  });
  return markdownTable(["positions", "batch", "dense, us", "GB/s", "SparQ, us", "GB/s", "dense / SparQ"], rows);
}
