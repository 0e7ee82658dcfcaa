import { type Clock, inTurn } from "./clock.ts";
import type { CompareOptions } from "./command.ts";
import { DecodeCell, WARM_UP_STEPS } from "./decode.ts";
import type { MemoryPlan, Skipped } from "./memory.ts";
import { PeerMissing } from "./peer.ts";
import type { PrefillSeries } from "./series.ts";
import type { System } from "./system.ts";
import { tokenIds } from "./tokens.ts";

const FILL_SEED = 2 ** 16;

export interface ContextParts {
  readonly context: number;
  readonly systems: readonly System[];
  readonly options: CompareOptions;
  readonly plan: MemoryPlan;
  readonly skip: (one: Skipped) => void;
  readonly clock: Clock;
}

/** Rounds over all batches of one context. Between two rounds other contexts may have had the systems' caches. */
export class ContextRounds {
  readonly cells: DecodeCell[] = [];
  private readonly parts: ContextParts;
  private open: readonly System[] = [];
  private prefilled: number[][] = [];

  constructor(parts: ContextParts) {
    this.parts = parts;
  }

  /** `round` counts from 0, where the systems are found that have room for this context. */
  async round(round: number, vocabSize: number): Promise<void> {
    const { context, options } = this.parts;
    // Shorter contexts are the beginning of longer ones, so that a system that kept those need not compute them again.
    const tokens = tokenIds(context, vocabSize, FILL_SEED);
    const alone = options.context.length === 1;
    if (round === 0) await this.begin(tokens, vocabSize);
    else if (!alone) await inTurn(this.open, (system) => this.reopen(system));
    const last = round === options.rounds - 1;
    if (round === 0 || !alone || options.prefill > round) await this.fill(round, tokens, last);
    for (const cell of this.cells) await cell.round(!alone);
  }

  get prefill(): PrefillSeries[] {
    const { context } = this.parts;
    return this.prefilled.flatMap((rounds, i) =>
      rounds.length === 0 ? [] : [{ system: this.open[i]!.name, context, rounds }],
    );
  }

  private async begin(tokens: readonly number[], vocabSize: number): Promise<void> {
    const { context, systems, options, plan, skip, clock } = this.parts;
    const opened = await inTurn(systems, async (system) => {
      if (this.batchesOf(system).length === 0) return [];
      try {
        await this.reopen(system);
        return [system];
      } catch (error) {
        if (!(error instanceof PeerMissing)) throw error;
        skip({ what: `${system.name} at context ${context}`, reason: error.message });
        return [];
      }
    });
    this.open = opened.flat();
    this.prefilled = this.open.map(() => []);
    // The first steps after loading touch the weights' memory for the first time.
    if (options.prefill > 0) await inTurn(this.open, (system) => system.fill(tokens.slice(0, 512)));
    for (const batch of options.batch) {
      const running = this.open.filter(({ name }) => plan.runs(name, context, batch));
      this.cells.push(new DecodeCell(running, { ...options, context, batch, vocabSize }, clock));
    }
  }

  /** Makes a cache for the largest batch that the system will run. */
  private async reopen(system: System): Promise<void> {
    const { context, options } = this.parts;
    await system.open(context + stepsAt(options), Math.max(...this.batchesOf(system)));
  }

  private batchesOf({ name }: System): number[] {
    const { context, options, plan } = this.parts;
    return options.batch.filter((batch) => plan.runs(name, context, batch));
  }

  /** Fills the caches; as often as --prefill says that is timed, once in a round, and what is left in the last. */
  private async fill(round: number, tokens: readonly number[], last: boolean): Promise<void> {
    const { options, clock } = this.parts;
    const times = Math.max(0, last ? options.prefill - round : Math.min(1, options.prefill - round));
    for (let time = 0; time < times; time++) {
      for (const [i, system] of this.open.entries()) {
        const timed = clock.alone(system, () => system.fill(tokens), `prefill of ${tokens.length}`);
        this.prefilled[i]!.push(await timed);
      }
    }
    if (times > 0) return;
    for (const system of this.open) {
      await clock.alone(system, () => system.refill(tokens), `filling ${tokens.length}`);
    }
  }
}

/** Positions that are kept free behind the context. */
export function stepsAt({ steps }: Pick<CompareOptions, "steps">): number {
  return Math.max(steps, WARM_UP_STEPS);
}
