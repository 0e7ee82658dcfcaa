import { expect, it } from "vitest";
import { defaultAttention } from "../../attention/defaults.ts";
import { decodeSteps, figuresOf, type StepFigures } from "../../bench/overhead/figures.ts";
import type { RecordedStep } from "../../bench/overhead/recorder.ts";
import { reportOf, tableOf } from "../../bench/overhead/report.ts";

const attention = defaultAttention({ heads: 4, kvHeads: 2, headDim: 16 });

/** A step of sequences of so many rows, called at a second and back 30 ms later, 28 of them native and 1 sampling. */
function step(rows: readonly number[], called: number, threadSeconds: number | null = null): RecordedStep {
  const sequences = rows.map((length) => {
    const tokenIds = new Array<number>(length).fill(1);
    return { tokenIds, contextLength: 9, blockTable: [0], attention, denseUntil: 9, logits: "last" as const };
  });
  const times = { called, returned: called + 0.03, nativeSeconds: 0.028, samplingSeconds: 0.001 };
  return { sequences, ...times, threadSeconds };
}

it("counts the steps in which all sequences decode one token, without the first ones", () => {
  const others = [step([1], 0), step([1, 4], 1), step([2, 1], 2)];
  const prompts = step([1, 1], 3);
  const prompt = { ...prompts, sequences: prompts.sequences.map((s) => ({ ...s, denseUntil: 10 })) };
  const decoding = Array.from({ length: 6 }, (_, i) => step([1, 1], 4 + i));
  expect(decodeSteps([...others, prompt, ...decoding, ...others], 2)).toEqual(decoding.slice(4));
});

it("tells a step's native time from what lies between two", () => {
  const steps = [step([1], 0, 1), step([1], 0.04), step([1], 0.08, 1.004), step([1], 0.13)];
  const figures = figuresOf(steps);
  expect(figures.steps).toBe(3);
  const expected = { period: 40, graph: 27, sampling: 1, gap: 12, between: 10, thread: 2 };
  for (const [name, value] of Object.entries(expected)) {
    expect(figures[name as keyof StepFigures], name).toBeCloseTo(value, 9);
  }
  expect(figuresOf(steps.slice(1)).thread).toBeNull();
  expect(() => figuresOf(steps.slice(3))).toThrow("1 steps have nothing between them");
});

it("compares with a loop whose sampling does not count", () => {
  const direct = { steps: 9, period: 41, graph: 39, sampling: 1, gap: 1, between: 0.5, thread: 1 };
  const served = { steps: 9, period: 50, graph: 46, sampling: 1.5, gap: 2.5, between: 2, thread: null };
  const report = reportOf([{ served, direct, clientMs: 3 }], 16);
  expect(report).toMatchObject({ servedTokensPerSecond: 320, directTokensPerSecond: 400, ratio: [0.8, 0.8, 0.8] });
  expect(report.overhead).toBeCloseTo(4 / 39, 9);
  expect(tableOf(report)).toContain("| processor time of the JavaScript thread | unknown | 1.000 |");
  expect(tableOf(report)).toContain("sampling and gap: 10.3 % of a step's graph; tokens/s 0.800 (0.800-0.800)");
});
