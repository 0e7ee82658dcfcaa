import { createHash } from "node:crypto";
import type { Tokenizer } from "../../server/engine/types.ts";

/** One request of a workload. */
export interface WorkloadRequest {
  readonly promptIds: readonly number[];
  /** Exactly so many are generated. */
  readonly outputTokens: number;
  /** Of its sampling. */
  readonly seed: number;
}

/** Requests that are all there from the beginning, in the order in which they are handed in. */
export interface Workload {
  readonly requests: readonly WorkloadRequest[];
  /** What tells it from the others of a run: `{ input: 512 }`. */
  readonly labels: Readonly<Record<string, number>>;
  /** How it came about: documents, what was left out. */
  readonly facts: Readonly<Record<string, string | number>>;
}

/** A workload that cannot be made, or run; the message names the numbers. */
export class WorkloadError extends Error {
  override readonly name = "WorkloadError";
}

/** What workloads are made with. */
export interface WorkloadModel {
  readonly tokenizer: Pick<
    Tokenizer,
    "vocabSize" | "bosTokenId" | "encode" | "decode" | "specialToken" | "applyChatTemplate"
  >;
  readonly vocabSize: number;
  /** Longest sequence, prompt and answer. */
  readonly contextLength: number;
}

/** Throws WorkloadError for the first request that is longer than `contextLength`, prompt and answer. */
export function checkFits({ requests }: Workload, contextLength: number, limit: string): void {
  for (const [i, { promptIds, outputTokens }] of requests.entries()) {
    const tokens = promptIds.length + outputTokens;
    if (tokens > contextLength) {
      throw new WorkloadError(
        `request ${i + 1} of ${requests.length} takes ${tokens} tokens (${promptIds.length} of its prompt and ` +
          `${outputTokens} of its answer); ${limit} ${contextLength}`,
      );
    }
  }
}

export function promptTokens({ requests }: Workload): number {
  return requests.reduce((sum, { promptIds }) => sum + promptIds.length, 0);
}

export function outputTokens({ requests }: Workload): number {
  return requests.reduce((sum, request) => sum + request.outputTokens, 0);
}

/** Same requests in the same order, same digest. */
export function digestOf({ requests }: Workload): string {
  const hash = createHash("sha256");
  for (const { promptIds, outputTokens, seed } of requests) {
    hash.update(Float64Array.from([promptIds.length, outputTokens, seed, ...promptIds]));
  }
  return hash.digest("hex");
}

/** What a record says of it. */
export function describeWorkload(workload: Workload) {
  const lengths = workload.requests.map(({ promptIds }) => promptIds.length);
  const outputs = workload.requests.map((request) => request.outputTokens);
  const range = (values: readonly number[]) => [least(values), greatest(values)];
  return {
    ...workload.labels,
    ...workload.facts,
    promptTokens: promptTokens(workload),
    outputTokens: outputTokens(workload),
    promptLengths: range(lengths),
    outputLengths: range(outputs),
    sha256: digestOf(workload).slice(0, 16),
  };
}

// Not Math.min(...): there may be more values than arguments.
function least(values: readonly number[]): number {
  return values.reduce((a, b) => Math.min(a, b));
}

function greatest(values: readonly number[]): number {
  return values.reduce((a, b) => Math.max(a, b));
}
