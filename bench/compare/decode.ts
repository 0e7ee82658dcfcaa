import { median } from "../statistics.ts";
import type { Clock } from "./clock.ts";
import type { Skipped } from "./memory.ts";
import { PeerMissing } from "./peer.ts";
import type { Series } from "./series.ts";
import type { System } from "./system.ts";
import { tokenIds } from "./tokens.ts";

export const WARM_UP_STEPS = 4;
/** Of the rounds of systems however slow: the first pays for what the second does not. */
const LEAST_STEPS = 2;

export interface DecodePlan {
  readonly context: number;
  readonly batch: number;
  /** All that there will be; a cell that cannot run gives them up. */
  readonly rounds: number;
  readonly steps: number;
  readonly roundSeconds: number;
  readonly vocabSize: number;
}

export interface DecodeResult {
  readonly series: readonly Series[];
  /** Systems that cannot decode this cell, and why. */
  readonly skipped: readonly Skipped[];
  /** Of those whose rounds have fewer steps than the others'. */
  readonly shortened: readonly {
    readonly system: string;
    readonly context: number;
    readonly batch: number;
    readonly steps: number;
  }[];
}

interface Run {
  readonly system: System;
  readonly variant: string;
  /** Of a round. */
  readonly steps: number;
  readonly rounds: (readonly number[])[];
}

/** Rounds of all systems in turn over one context and batch, which need not follow one another at once. */
export class DecodeCell {
  readonly plan: DecodePlan;
  private readonly systems: readonly System[];
  private readonly clock: Clock;
  private readonly runs: Run[] = [];
  private readonly skipped: Skipped[] = [];
  private rounds = 0;

  constructor(systems: readonly System[], plan: DecodePlan, clock: Clock) {
    this.systems = systems;
    this.plan = plan;
    this.clock = clock;
  }

  /** One round. `reopened`: the caches are not those of the last one, so that memory must be warmed up again. The first does so anyway. */
  async round(reopened: boolean): Promise<void> {
    const { runs } = this;
    if (this.rounds === 0) for (const system of this.systems) await this.begin(system);
    else if (reopened) {
      for (const { system, variant, steps } of runs)
        await this.decode(system, variant, Math.min(steps, WARM_UP_STEPS), 0);
    }
    // Another is the first in each round: what ran before is not the same for one of them always.
    for (let turn = 0; turn < runs.length; turn++) {
      const { system, variant, steps, rounds } = runs[(this.rounds + turn) % runs.length]!;
      rounds.push(await this.decode(system, variant, steps, this.rounds + 1));
    }
    this.rounds++;
  }

  result(): DecodeResult {
    const { context, batch, steps: wanted } = this.plan;
    const labelsOf = ({ system, variant }: Run) => ({ system: system.name, variant, context, batch });
    return {
      series: this.runs.map((run) => ({ ...labelsOf(run), rounds: run.rounds })),
      skipped: this.skipped,
      shortened: this.runs
        .filter(({ steps }) => steps < wanted)
        .map(({ system, steps }) => ({ system: system.name, context, batch, steps })),
    };
  }

  /** The steps that do not count, which say how many a round of each variant is. */
  private async begin(system: System): Promise<void> {
    const { context, batch, rounds } = this.plan;
    for (const variant of system.variants) {
      try {
        const warm = await this.decode(system, variant, WARM_UP_STEPS, 0);
        this.runs.push({ system, variant, steps: affordable(warm, this.plan), rounds: [] });
      } catch (error) {
        if (!(error instanceof PeerMissing)) throw error;
        this.skipped.push({ what: `${system.name} at context ${context} x batch ${batch}`, reason: error.message });
        this.clock.skip(1 + rounds);
      }
    }
  }

  private decode(system: System, variant: string, steps: number, seed: number): Promise<readonly number[]> {
    const { context, batch, vocabSize } = this.plan;
    const tokens = tokenIds(batch * steps, vocabSize, seed);
    const round = { variant, context, batch, tokens };
    return this.clock.alone(system, () => system.decode(round), `context ${context}, batch ${batch}`);
  }
}

/** How many steps a round can have. */
function affordable(warm: readonly number[], { steps, roundSeconds }: DecodePlan): number {
  const fitting = Math.floor((1000 * roundSeconds) / median(warm));
  return Math.min(steps, Math.max(LEAST_STEPS, fitting));
}
