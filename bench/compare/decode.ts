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

/** Rounds of all systems in turn, after some steps of each to warm up. */
export async function measureDecode(systems: readonly System[], plan: DecodePlan, clock: Clock): Promise<DecodeResult> {
  const { context, batch } = plan;
  const what = `context ${context}, batch ${batch}`;
  const tokensOf = (steps: number, seed: number) => tokenIds(batch * steps, plan.vocabSize, seed);
  const runs: Run[] = [];
  const skipped: Skipped[] = [];
  for (const system of systems) {
    for (const variant of system.variants) {
      const round = { variant, context, batch, tokens: tokensOf(WARM_UP_STEPS, 0) };
      try {
        const warm = await clock.alone(system, () => system.decode(round), what);
        runs.push({ system, variant, steps: affordable(warm, plan), rounds: [] });
      } catch (error) {
        if (!(error instanceof PeerMissing)) throw error;
        skipped.push({ what: `${system.name} at context ${context} x batch ${batch}`, reason: error.message });
        clock.skip(1 + plan.rounds);
      }
    }
  }
  for (let i = 0; i < plan.rounds; i++) {
    // Another is the first in each round: what ran before is not the same for one of them always.
    for (let turn = 0; turn < runs.length; turn++) {
      const { system, variant, steps, rounds } = runs[(i + turn) % runs.length]!;
      const tokens = tokensOf(steps, i + 1);
      rounds.push(await clock.alone(system, () => system.decode({ variant, context, batch, tokens }), what));
    }
  }
  return {
    series: runs.map(({ system, variant, rounds }) => ({ system: system.name, variant, context, batch, rounds })),
    skipped,
    shortened: runs
      .filter(({ steps }) => steps < plan.steps)
      .map(({ system, steps }) => ({ system: system.name, context, batch, steps })),
  };
}

/** How many steps a round can have. */
function affordable(warm: readonly number[], { steps, roundSeconds }: DecodePlan): number {
  const fitting = Math.floor((1000 * roundSeconds) / median(warm));
  return Math.min(steps, Math.max(LEAST_STEPS, fitting));
}
