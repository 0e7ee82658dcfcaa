/** What GET /v1/sparq/stats answers, as far as the page uses it. */
export interface Stats {
  readonly model: string;
  readonly context_length: number;
  readonly head_size: number;
  readonly attention: { readonly mode: "dense" | "sparq" | "onnx"; readonly r: number; readonly k: number };
  readonly running: number;
  readonly waiting: number;
  readonly blocks: { readonly total: number; readonly cached: number; readonly owned: number };
  readonly generated_tokens: number;
  readonly speculation: { readonly draft_tokens: number; readonly accepted_draft_tokens: number };
  readonly traffic: {
    readonly score_bytes: number;
    readonly gather_bytes: number;
    readonly dense_bytes: number;
    readonly dense_equivalent_bytes: number;
  };
}

/** The server's sums at a moment, milliseconds of any steady clock. */
export interface Sample {
  readonly at: number;
  readonly stats: Stats;
}

/** What happened between two samples. */
export interface Interval {
  readonly tokensPerSecond: number;
  /** Bytes read of the cache. */
  readonly read: number;
  /** Bytes that dense attention would have read. */
  readonly dense: number;
  /** read / dense; null if attention read nothing. */
  readonly ratio: number | null;
  readonly seconds: number;
}

/** Null if the two cannot be compared: no time between them, or the server was started anew, so that its sums fell. */
export function interval(before: Sample, after: Sample): Interval | null {
  const seconds = (after.at - before.at) / 1000;
  const tokens = after.stats.generated_tokens - before.stats.generated_tokens;
  const read = bytesRead(after.stats) - bytesRead(before.stats);
  const dense = after.stats.traffic.dense_equivalent_bytes - before.stats.traffic.dense_equivalent_bytes;
  if (seconds <= 0 || tokens < 0 || read < 0 || dense < 0) return null;
  return { tokensPerSecond: tokens / seconds, read, dense, ratio: dense === 0 ? null : read / dense, seconds };
}

function bytesRead({ traffic }: Stats): number {
  return traffic.score_bytes + traffic.gather_bytes + traffic.dense_bytes;
}
