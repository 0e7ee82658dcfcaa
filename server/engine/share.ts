import type { AttentionSettings } from "../../attention/types.ts";
import type { Sequence } from "./sequence.ts";

/** One sequence's part of a step. */
export interface Share {
  readonly sequence: Sequence;
  /** Rows of tokens that are certain; those of the draft follow. */
  readonly rows: number;
  readonly attention: AttentionSettings;
  readonly decoding: boolean;
  /** The layers that the rows go through in this step, if not all. */
  readonly layers?: { readonly begin: number; readonly end: number };
  draft: readonly number[];
}

export function rowsOf(shares: readonly Share[]): number {
  return shares.reduce((sum, { rows }) => sum + rows, 0);
}

/**
 * Rows of what is certain: what drafts cost counts as part of their sequences' decode rows, and a row that goes through some of
 * a model's `layers` as a part of a row.
 */
export function countRows(steps: readonly Share[], layers: number | null): { decodeRows: number; promptRows: number } {
  const prompts = steps.filter(({ decoding }) => !decoding);
  const promptRows = prompts.reduce((sum, { rows, layers: some }) => {
    return sum + (some === undefined || layers === null ? rows : (rows * (some.end - some.begin)) / layers);
  }, 0);
  return { decodeRows: rowsOf(steps.filter(({ decoding }) => decoding)), promptRows };
}

/** The sequence's next rows, `most` of them at most. */
export function shareOf(sequence: Sequence, most: number): Share {
  return { sequence, ...sequence.nextRows(most), draft: [], decoding: sequence.decoding };
}
