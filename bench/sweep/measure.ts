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
  readonly tables: readonly (readonly number[])[];
  readonly tokens: readonly number[];
  readonly rounds: number;
  /** A way's steps of a round take about so long; it is one at least. */
  readonly roundMs: number;
  /** Bytes a second, now. */
  readonly readBandwidth: () => number;
  readonly stop: AbortSignal;
}

/** Of a way in a round. */
const MOST_STEPS = 16;
/** Steps of each way that do not count. */
const WARM_UP = 2;

/**
 * Steps that all decode the position behind the context: ways in turn, round after round, after steps that do not count, which say how
 * many a round of each is.
 */
export async function measureCell(cell: Cell, ways: readonly Way[], conditions: CellConditions): Promise<MeasuredCell> {
  const { rounds, roundMs, readBandwidth, stop } = conditions;
  const run = async ({ attention }: Way, round: number) => {
    stop.throwIfAborted();
    return timedStep(conditions.session, sequencesOf(cell, attention, round, conditions));
  };
  let warm: { ms: number; output: SequencesOutput }[] = [];
  for (let round = -WARM_UP; round < 0; round++) {
    warm = [];
    for (const way of ways) warm.push(await run(way, -round));
  }
  const slowest = Math.max(...warm.map(({ ms }) => ms));
  const stepsOfRound = Math.max(1, Math.min(MOST_STEPS, Math.round(roundMs / slowest)));
  const steps = ways.map((): TimedStep[] => []);
  const bandwidth: number[] = [];
  for (let round = 1; round <= rounds; round++) {
    bandwidth.push(readBandwidth());
    for (const [i, way] of ways.entries()) {
      const own: TimedStep[] = [];
      for (let step = 0; step < stepsOfRound; step++) own.push((await run(way, round)).step);
      steps[i]!.push(middleOf(own));
    }
  }
  const measured = ways.map((way, i) => {
    return { ...way, steps: steps[i]!, cacheBytes: cacheBytesOf(warm[i]!.output.traffic) };
  });
  return { ways: measured, bandwidth, stepsOfRound };
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

/** Each sequence runs a token of its own, and all run others in the next round. */
function sequencesOf(
  { context, batch }: Cell,
  attention: AttentionSettings,
  round: number,
  { tables, tokens }: CellConditions,
): StepSequence[] {
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
