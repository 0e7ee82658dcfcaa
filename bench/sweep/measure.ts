import { greedySampling } from "../../attention/sampling.ts";
import type { SequencesOutput, Session } from "../../attention/session.ts";
import type { AttentionSettings, StepSequence } from "../../attention/types.ts";
import { cacheBytesOf } from "./bytes.ts";
import { type Split, splitOf } from "./parts.ts";
import type { Cell } from "./plan.ts";

/** A way to attend at one cell. */
export interface Way {
  readonly variant: string;
  /** What a server would give the kernels there. */
  readonly attention: AttentionSettings;
}

/** A step of it. */
export interface TimedStep {
  /** From the call to the tokens, the server's share as far as the session is concerned included. */
  readonly ms: number;
  readonly split: Split;
}

/** One way's rounds over a cell. */
export interface Rounds extends Way {
  /** Of each round, the step with the median time. */
  readonly steps: readonly TimedStep[];
  /** Read of the cache by a step. */
  readonly cacheBytes: number;
}

export interface MeasuredCell {
  readonly ways: readonly Rounds[];
  /** Bytes a second that plain reads got, before each round. */
  readonly bandwidth: readonly number[];
  readonly stepsOfRound: number;
}

export interface CellConditions {
  readonly session: Session;
  readonly tokens: readonly number[];
  /** A way's steps of a round take about so long; it is one at least. */
  readonly roundMs: number;
  /** Bytes a second, now. */
  readonly readBandwidth: () => number;
  readonly stop: AbortSignal;
}

type Tables = readonly (readonly number[])[];

/** Of a way in a round. */
const MOST_STEPS = 16;
/** Steps of each way that do not count. */
const WARM_UP = 2;

/**
 * Steps of a cell that all decode the position behind the context: ways in turn, in as many rounds as it is told to. Its tables must be
 * filled anew before each call in which others were used meanwhile.
 */
export class CellRounds {
  readonly cell: Cell;
  private readonly ways: readonly Way[];
  private readonly conditions: CellConditions;
  private readonly steps: TimedStep[][];
  private readonly bandwidth: number[] = [];
  private cacheBytes: number[] = [];
  private stepsOfRound = 0;

  constructor(cell: Cell, ways: readonly Way[], conditions: CellConditions) {
    this.cell = cell;
    this.ways = ways;
    this.conditions = conditions;
    this.steps = ways.map(() => []);
  }

  /** The first call runs steps that do not count first, which say how many a round of each way is. */
  async round(tables: Tables): Promise<void> {
    if (this.stepsOfRound === 0) await this.warmUp(tables);
    const round = this.bandwidth.push(this.conditions.readBandwidth());
    // Another way is the first in each round: what comes after the bandwidth's reads is not the same for one of them always.
    for (let turn = 0; turn < this.ways.length; turn++) {
      const i = (round + turn) % this.ways.length;
      const way = this.ways[i]!;
      const own: TimedStep[] = [];
      for (let step = 0; step < this.stepsOfRound; step++) {
        own.push((await this.run(way, tables, round)).step);
      }
      this.steps[i]!.push(middleOf(own));
    }
  }

  result(): MeasuredCell {
    const ways = this.ways.map((way, i) => ({ ...way, steps: this.steps[i]!, cacheBytes: this.cacheBytes[i]! }));
    return { ways, bandwidth: this.bandwidth, stepsOfRound: this.stepsOfRound };
  }

  private async warmUp(tables: Tables): Promise<void> {
    let slowest = 0;
    for (let turn = 1; turn <= WARM_UP; turn++) {
      const warm: { ms: number; output: SequencesOutput }[] = [];
      for (const way of this.ways) warm.push(await this.run(way, tables, turn));
      slowest = Math.max(...warm.map(({ ms }) => ms));
      this.cacheBytes = warm.map(({ output }) => cacheBytesOf(output.traffic));
    }
    this.stepsOfRound = Math.max(1, Math.min(MOST_STEPS, Math.round(this.conditions.roundMs / slowest)));
  }

  private async run({ attention }: Way, tables: Tables, round: number) {
    const { session, tokens, stop } = this.conditions;
    stop.throwIfAborted();
    return timedStep(session, sequencesOf(this.cell, { attention, round, tables, tokens }));
  }
}

async function timedStep(
  session: Session,
  sequences: readonly StepSequence[],
): Promise<{ ms: number; step: TimedStep; output: SequencesOutput }> {
  const started = performance.now();
  const output = await session.step(sequences, { timed: true });
  const ms = performance.now() - started;
  const faulty = output.sampled.flat().find(({ error }) => error !== undefined);
  if (faulty) throw faulty.error;
  return { ms, step: { ms, split: splitOf(output, ms, session.threads) }, output };
}

interface Rows {
  readonly attention: AttentionSettings;
  readonly round: number;
  readonly tables: Tables;
  readonly tokens: readonly number[];
}

/** Each sequence runs a token of its own, and all run others in the next round. */
function sequencesOf({ context, batch }: Cell, { attention, round, tables, tokens }: Rows): StepSequence[] {
  return tables.map((blockTable, i) => ({
    tokenIds: [tokens[(round * batch + i) % tokens.length]!],
    contextLength: context,
    blockTable,
    attention,
    denseUntil: context,
    logits: "last",
    sampling: [greedySampling],
  }));
}

/** The step with the median time, the quicker of two: its parts add up, as medians of parts would not. */
export function middleOf(steps: readonly TimedStep[]): TimedStep {
  return [...steps].sort((a, b) => a.ms - b.ms)[(steps.length - 1) >> 1]!;
}
