import { towards } from "./moving-estimate.ts";

export interface PrefillSettings {
  /**
   * While sequences decode, rows of one prompt may make a step take so many times as long as it would without them, >= 1;
   * those of several may add so many times as much. Infinity: no limit.
   */
  readonly slowdown: number;
  /** Rows of prompts that a step may have in any case, >= 1, so that a prompt moves however slow they are; see `layers` too. */
  readonly floor: number;
}

/** What a step took. */
export interface MeasuredStep {
  /** Null if that is not known. */
  readonly seconds: number | null;
  /** Rows of sequences that decode, and of prompts. */
  readonly decodeRows: number;
  /** A row that went through some layers only counts as a part of one. */
  readonly promptRows: number;
}

/** Steps after which a time is no longer believed: contexts have grown by so many tokens. */
const FRESH_STEPS = 64;
/** A measurement moves its estimate by this share of the way. */
const WEIGHT = 0.5;
/** Seconds; an estimate of nothing could never grow. */
const LEAST_PER_ROW = 1e-6;

/**
 * How many rows of prompts a step may have beside decode rows: as many as the time allows that they may add, by what rows
 * cost lately. Pure arithmetic on the measurements it is given; they decide when a row runs, never what it gives.
 *
 * Two things are estimated: the time of a step of n decode rows alone, for each n, and the time that one row of a prompt
 * adds. The latter grows along a long prompt and falls with the next one, so it follows the last few steps. A step without
 * rows of prompts is put in when there is no fresh time for this n, but never twice in a row.
 */
export class PrefillBudget {
  private readonly settings: PrefillSettings;
  private readonly alone = new Map<number, { seconds: number; step: number }>();
  private perRow: number | null = null;
  /** Whether `perRow` comes from rows that shared a step with decode rows, which cost more each than a large chunk's. */
  private shared = false;
  private steps = 0;
  private lastWasAlone = false;

  /** Throws RangeError for a slowdown below 1 or a floor that is no whole number of at least 1. */
  constructor(settings: PrefillSettings) {
    const { slowdown, floor } = settings;
    if (!(slowdown >= 1)) throw new RangeError(`a step cannot be slowed down ${slowdown} times, only 1 and more`);
    if (!(Number.isSafeInteger(floor) && floor >= 1)) throw new RangeError(`a floor of ${floor} rows; 1 is the least`);
    this.settings = settings;
  }

  /**
   * Rows of prompts that the next step may have beside `decodeRows` decode rows, often not a whole number; 0 where it is to be
   * measured without, and the floor where nothing is known. `prompts`, how many wait for their first token, may add so many times
   * as much: each of them stands still, while streams go slower, and steps with few streams waste what the weights' bytes cost. Does not
   * mutate.
   */
  allowance(decodeRows: number, prompts = 1): number {
    const { slowdown, floor } = this.settings;
    if (decodeRows === 0 || slowdown === Number.POSITIVE_INFINITY) return Number.POSITIVE_INFINITY;
    const known = this.alone.get(decodeRows);
    const fresh = known !== undefined && this.steps - known.step <= FRESH_STEPS;
    if (!fresh && !this.lastWasAlone) return 0;
    const seconds = known?.seconds ?? this.nearest(decodeRows);
    if (seconds === null || this.perRow === null) return floor;
    return ((slowdown - 1) * Math.max(1, prompts) * seconds) / this.perRow;
  }

  /** The same in whole rows, of which there are always as many as the floor where there are any. */
  rows(decodeRows: number, prompts = 1): number {
    const allowed = this.allowance(decodeRows, prompts);
    return allowed === 0 ? 0 : Math.max(this.settings.floor, Math.floor(allowed));
  }

  /** Takes in a step's time. Mutates. */
  observe({ seconds, decodeRows, promptRows }: MeasuredStep): void {
    this.steps += 1;
    this.lastWasAlone = decodeRows > 0 && promptRows === 0;
    if (seconds === null || !(seconds > 0)) return;
    if (promptRows === 0) {
      const known = this.alone.get(decodeRows);
      this.alone.set(decodeRows, { seconds: towards(known?.seconds ?? null, seconds, WEIGHT), step: this.steps });
    } else if (decodeRows === 0) {
      if (!this.shared) this.perRow = seconds / promptRows;
    } else this.observeShared(seconds, decodeRows, promptRows);
  }

  private observeShared(seconds: number, decodeRows: number, promptRows: number): void {
    const alone = this.alone.get(decodeRows)?.seconds ?? this.nearest(decodeRows);
    if (alone === null) return;
    if (seconds < alone) {
      // Fewer rows take no longer: what was measured was something else too. It is measured again.
      this.alone.delete(decodeRows);
      return;
    }
    const added = Math.max(LEAST_PER_ROW, (seconds - alone) / promptRows);
    this.perRow = towards(this.perRow, added, WEIGHT);
    this.shared = true;
  }

  /** A lower bound on the time of a step of so many decode rows, from that of another number; null if there is none. */
  private nearest(decodeRows: number): number | null {
    let best: number | null = null;
    for (const rows of this.alone.keys()) {
      if (best === null || Math.abs(rows - decodeRows) < Math.abs(best - decodeRows)) best = rows;
    }
    // More rows take longer, and so many times as many at most so many times as long.
    return best === null ? null : this.alone.get(best)!.seconds * Math.min(1, decodeRows / best);
  }
}
