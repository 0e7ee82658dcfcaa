/** What was timed of one way of decoding, in one cell. */
export interface Series {
  readonly system: string;
  /** "default" or "dense" of sparq, "dense" of peers. */
  readonly variant: string;
  readonly context: number;
  readonly batch: number;
  /** Milliseconds of each step, by round. */
  readonly rounds: readonly (readonly number[])[];
}

/** One sequence's prompt. */
export interface PrefillSeries {
  readonly system: string;
  readonly context: number;
  /** Seconds. */
  readonly rounds: readonly number[];
}
