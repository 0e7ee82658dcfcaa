import type { Traffic } from "../../attention/types.ts";
import type { PreparedModel } from "../../models/types.ts";

/** What a decode step must read of the weights: all, but for an embedding that is not the head as well, of which it reads a row. */
export function weightBytesOf({ config, report }: Pick<PreparedModel, "config" | "report">): number {
  if (config.tiedHead) return report.weightBytes;
  // As if each parameter took as much: formats mix types, and an import does not say which is the embedding.
  const embedding = (config.vocabSize * config.hiddenSize) / report.parameters;
  return Math.round(report.weightBytes * (1 - embedding));
}

/** What a step must read of the cache, by the algorithm's own count. */
export function cacheBytesOf({ scoreBytes, gatherBytes, denseBytes }: Traffic): number {
  return scoreBytes + gatherBytes + denseBytes;
}

/** Milliseconds in which that could be read and nothing else done. */
export function leastMs(bytes: number, bytesPerSecond: number): number {
  return (1000 * bytes) / bytesPerSecond;
}
