import { packTail } from "./pack-tail.ts";
import { packSampling } from "./sampling.ts";
import { type AttentionSettings, type RowSampling, ranks, type StepInput, type StepSequence } from "./types.ts";

/** int32 values per sequence in StepInput.settings, as `Settings` in native/attention.h. */
export const SETTINGS_LENGTH = 10;

/** Which of a step's logit rows belong to one sequence: [start, end), empty when it wanted none. */
export interface LogitRange {
  readonly start: number;
  readonly end: number;
  /** The first of them among the step's sampled rows; undefined if their logits are wanted. */
  readonly sampled?: number;
}

export interface PackedStep {
  readonly input: StepInput;
  /** One range per sequence, in the order given. */
  readonly logitRanges: readonly LogitRange[];
}

/**
 * Lays sequences out as one ragged step: rows of the first sequence, then of the second, and so on. Checks nothing but
 * that token ids, blocks and lengths are int32; whether they fit the store and the model is the native side's check.
 * Throws RangeError for a value that int32 cannot hold, since typed arrays would wrap it silently, and for sampling of more
 * or fewer rows than have logits.
 */
export function packStep(sequences: readonly StepSequence[]): PackedStep {
  const tail = packTail(sequences);
  const logitRows: number[] = [];
  const logitRanges: LogitRange[] = [];
  const rowStarts = [0];
  const blockTableStarts = [0];
  const sampledRows: number[] = [];
  const sampling: RowSampling[] = [];
  for (const [index, { tokenIds, blockTable, logits, sampling: own }] of sequences.entries()) {
    const rowStart = rowStarts.at(-1)!;
    const rowEnd = rowStart + tokenIds.length;
    const start = logitRows.length;
    const firstRow = logits === "none" ? rowEnd : logits === "last" ? Math.max(rowStart, rowEnd - 1) : rowStart;
    for (let row = firstRow; row < rowEnd; row++) logitRows.push(row);
    const end = logitRows.length;
    if (own === undefined) {
      logitRanges.push({ start, end });
    } else {
      if (own.length !== end - start) {
        throw new RangeError(`sequence ${index}: sampling of ${own.length} rows, ${end - start} have logits`);
      }
      logitRanges.push({ start, end, sampled: sampling.length });
      for (let row = start; row < end; row++) sampledRows.push(row);
      sampling.push(...own);
    }
    rowStarts.push(rowEnd);
    blockTableStarts.push(blockTableStarts.at(-1)! + blockTable.length);
  }
  const input: StepInput = {
    tokenIds: concatenate("tokenIds", sequences, (sequence) => sequence.tokenIds, rowStarts.at(-1)!),
    rowStarts: Int32Array.from(rowStarts),
    contextLengths: concatenate("contextLength", sequences, (s) => [s.contextLength], sequences.length),
    blockTables: concatenate("blockTable", sequences, (s) => s.blockTable, blockTableStarts.at(-1)!),
    blockTableStarts: Int32Array.from(blockTableStarts),
    settings: concatenate("attention", sequences, packSettings, sequences.length * SETTINGS_LENGTH),
    logitRows: Int32Array.from(logitRows),
    ...(sampling.length > 0 ? { sampling: packSampling(sampledRows, sampling) } : {}),
    ...(tail === undefined ? {} : { tail }),
  };
  return { input, logitRanges };
}

/** SETTINGS_LENGTH int32 of one sequence. */
export function packSettings({
  attention,
  denseUntil,
}: Pick<StepSequence, "attention" | "denseUntil">): readonly number[] {
  const {
    mode,
    r,
    k,
    local,
    meanValue,
    groupSum,
    bucketTopK = 0,
    rank = "sparq",
    sinks = 0,
  }: AttentionSettings = attention;
  return [
    mode === "sparq" ? 1 : 0,
    r,
    k,
    local,
    meanValue ? 1 : 0,
    groupSum === "logits" ? 1 : 0,
    denseUntil,
    bucketTopK,
    ranks.indexOf(rank),
    sinks,
  ];
}

function concatenate(
  field: string,
  sequences: readonly StepSequence[],
  valuesOf: (sequence: StepSequence) => readonly number[],
  length: number,
): Int32Array {
  const packed = new Int32Array(length);
  let end = 0;
  for (const [index, sequence] of sequences.entries()) {
    for (const value of valuesOf(sequence)) {
      packed[end] = value;
      if (packed[end] !== value) throw new RangeError(`sequence ${index}: ${field} holds ${value}, which is no int32`);
      end++;
    }
  }
  return packed;
}
