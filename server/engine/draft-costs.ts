import { towards } from "./moving-estimate.ts";

/** What a step of decode rows alone took. */
export interface MeasuredDecode {
  readonly seconds: number;
  /** Rows whose tokens are certain, one for each sequence, and rows of drafts behind them. */
  readonly rows: number;
  readonly draftRows: number;
}

/** Steps after which a time is no longer believed: contexts have grown by so many tokens, or another machine's load. */
const FRESH_STEPS = 256;
/** Steps with drafts after which one without is due: what drafts add is the difference. */
const ALONE_EVERY = 64;
/** A measurement moves its estimate by this share of the way. */
const WEIGHT = 0.2;
/** Of an estimate: a row that seems to cost nothing, by noise, still costs something. */
const MOST_STEP_COST = 16;

/** Seconds; an estimate of nothing could never grow. */
const LEAST = 1e-6;

interface Estimate {
  readonly seconds: number;
  readonly step: number;
}

/**
 * What a row of a draft costs beside the step that it joins, learned from what steps took. For each number of rows that
 * are certain, two times are followed: the step's without drafts, and what each row of a draft adds. They depend on the
 * machine, the model, the contexts, and on what else runs, so nothing is known before it is measured, and what has not been
 * measured for a while is forgotten: then a step runs without drafts, the cost is the one given, drafts that are worth that
 * are run, and it is measured again. Pure arithmetic on what it is told; it decides which drafts run, never what they give.
 */
export class DraftCosts {
  private readonly prior: number;
  private readonly alone = new Map<number, Estimate>();
  private readonly perRow = new Map<number, Estimate>();
  /** Steps with drafts since the last one without, by rows. */
  private readonly drafted = new Map<number, number>();
  private steps = 0;

  /** `prior`: the cost before it is measured, as stepCost() gives it. */
  constructor(prior: number) {
    this.prior = prior;
  }

  /**
   * The time of a step of `rows` certain rows that no row adds to, in units of what a row of a draft adds: draftLengths' measure.
   * Null if the next step should have no drafts, to be measured. Does not mutate.
   */
  stepCost(rows: number): number | null {
    const alone = this.fresh(this.alone, rows);
    if (alone === null || (this.drafted.get(rows) ?? 0) >= ALONE_EVERY) return null;
    const added = this.freshest(rows);
    return added === null ? this.prior : Math.min(MOST_STEP_COST, Math.max(0, alone / added - rows));
  }

  /** Takes in a step. Mutates. */
  observe({ seconds: measured, rows, draftRows }: MeasuredDecode): void {
    this.steps += 1;
    const seconds = Math.max(LEAST, measured);
    const alone = this.fresh(this.alone, rows);
    if (draftRows === 0) {
      this.alone.set(rows, { seconds: towards(alone, seconds, WEIGHT), step: this.steps });
      this.drafted.set(rows, 0);
      return;
    }
    this.drafted.set(rows, (this.drafted.get(rows) ?? 0) + 1);
    if (alone === null) return;
    // However short the step was, its rows were not free.
    const added = Math.max(alone / (MOST_STEP_COST + rows), (seconds - alone) / draftRows);
    this.perRow.set(rows, { seconds: towards(this.fresh(this.perRow, rows), added, WEIGHT), step: this.steps });
  }

  /** What a row adds beside so many, else beside the nearest number of rows that is known; null if none is. */
  private freshest(rows: number): number | null {
    let best: number | null = null;
    for (const [other, { step }] of this.perRow) {
      if (this.steps - step > FRESH_STEPS) continue;
      if (best === null || Math.abs(other - rows) < Math.abs(best - rows)) best = other;
    }
    return best === null ? null : this.perRow.get(best)!.seconds;
  }

  private fresh(estimates: ReadonlyMap<number, Estimate>, rows: number): number | null {
    const known = estimates.get(rows);
    return known === undefined || this.steps - known.step > FRESH_STEPS ? null : known.seconds;
  }
}
