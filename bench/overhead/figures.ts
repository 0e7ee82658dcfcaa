import { median } from "../statistics.ts";
import type { RecordedStep } from "./recorder.ts";

/** Medians over steps that follow one another, in milliseconds. */
export interface StepFigures {
  readonly steps: number;
  /** From one step's call to the next one's. */
  readonly period: number;
  /** The native call without sampling, and sampling. */
  readonly graph: number;
  readonly sampling: number;
  /** From the end of a native call to the beginning of the next: the period without the native call. */
  readonly gap: number;
  /** Of the gap, from when the caller has a step's result until it calls for the next. */
  readonly between: number;
  /** Processor time of the JavaScript thread, the mean; null if the system does not tell. */
  readonly thread: number | null;
}

/** Steps at a run's beginning that do not count: the prompts' last ones run in them, and answers begin. */
const WARM_UP = 4;

/** The steps of a run in which all `batch` sequences decode, one token each, without those at its beginning. */
export function decodeSteps(steps: readonly RecordedStep[], batch: number): readonly RecordedStep[] {
  const decoding = steps.filter(({ sequences }) => {
    const single = sequences.every(({ tokenIds, contextLength, denseUntil }) => {
      return tokenIds.length === 1 && contextLength >= denseUntil;
    });
    return single && sequences.length === batch;
  });
  return decoding.slice(WARM_UP);
}

/** Throws RangeError unless two of the steps follow one another. */
export function figuresOf(steps: readonly RecordedStep[]): StepFigures {
  const pairs = steps.slice(1).map((next, i) => ({ step: steps[i]!, next }));
  const milliseconds = (value: (pair: (typeof pairs)[number]) => number) => 1000 * median(pairs.map(value));
  if (pairs.length === 0) throw new RangeError(`${steps.length} steps have nothing between them`);
  return {
    steps: pairs.length,
    period: milliseconds(({ step, next }) => next.called - step.called),
    graph: milliseconds(({ step }) => step.nativeSeconds - step.samplingSeconds),
    sampling: milliseconds(({ step }) => step.samplingSeconds),
    gap: milliseconds(({ step, next }) => next.called - step.called - step.nativeSeconds),
    between: milliseconds(({ step, next }) => next.called - step.returned),
    thread: threadTime(steps),
  };
}

/** Milliseconds a step, from the first one that knows to the last. */
function threadTime(steps: readonly RecordedStep[]): number | null {
  const known = steps.flatMap(({ threadSeconds }, index) => (threadSeconds === null ? [] : [{ threadSeconds, index }]));
  const [first, last] = [known[0], known.at(-1)];
  if (!first || !last || first === last) return null;
  return (1000 * (last.threadSeconds - first.threadSeconds)) / (last.index - first.index);
}
