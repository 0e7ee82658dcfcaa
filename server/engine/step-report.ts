import type { Traffic } from "../../attention/types.ts";
import type { RunnerOutput } from "./engine.ts";
import type { ObservedStep } from "./observer.ts";
import type { PlannedSequence, StepPlan } from "./types.ts";

export interface TimedOutput {
  readonly output: RunnerOutput;
  /** Wall time of the step. */
  readonly seconds: number;
}

export function observedStep({ sequences }: StepPlan, { output, seconds }: TimedOutput): ObservedStep {
  const { traffic, attentionSeconds } = output;
  return {
    seconds,
    sequences: sequences.length,
    promptRows: countRows(sequences) - countRows(sequences.filter(isDecoding)),
    decodeRows: countRows(sequences.filter(isDecoding)),
    traffic,
    ...(attentionSeconds === undefined ? {} : { attentionSeconds }),
  };
}

/** For people: how much runs, and how long its contexts are. */
export function describeStep({ sequences }: StepPlan): string {
  const longest = Math.max(...sequences.map(({ contextLength, tokenIds }) => contextLength + tokenIds.length));
  const decoding = sequences.filter(isDecoding).length;
  return (
    `${countRows(sequences)} rows of ${sequences.length} sequences, ${decoding} of them decoding, ` +
    `contexts of up to ${longest} tokens`
  );
}

export function addTraffic(a: Traffic, b: Traffic): Traffic {
  return {
    scoreBytes: a.scoreBytes + b.scoreBytes,
    gatherBytes: a.gatherBytes + b.gatherBytes,
    denseBytes: a.denseBytes + b.denseBytes,
    denseEquivalentBytes: a.denseEquivalentBytes + b.denseEquivalentBytes,
  };
}

function countRows(sequences: readonly PlannedSequence[]): number {
  return sequences.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0);
}

function isDecoding({ tokenIds, draft = [], contextLength, denseUntil }: PlannedSequence): boolean {
  return tokenIds.length === 1 + draft.length && contextLength >= denseUntil;
}
