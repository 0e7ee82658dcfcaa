import { expect, it } from "vitest";
import { openSession } from "../../attention/session.ts";
import type { AttentionSettings, StepSequence, StepTimes } from "../../attention/types.ts";
import { graphFolder } from "./graph-files.ts";
import { decoderModel, makeDecoder, tinyShape } from "./tiny-decoder.ts";

const graphs = graphFolder();
const graphPath = graphs.write("tiny.onnx", decoderModel(makeDecoder()));

const dense: AttentionSettings = { mode: "dense", r: 1, k: 1, local: 0, meanValue: false, groupSum: "softmax" };
const sparq: AttentionSettings = { mode: "sparq", r: 8, k: 24, local: 6, meanValue: true, groupSum: "softmax" };
const random: AttentionSettings = { ...sparq, rank: "random", meanValue: false };

function open(threads: number) {
  return openSession({ graphPath, config: tinyShape, blocks: 16, blockSize: 64, threads });
}

/** A prompt of 200 tokens, then steps of one. */
function stepsOf(attention: AttentionSettings): StepSequence[] {
  const blockTable = [3, 7, 1, 2];
  const row = (contextLength: number, count: number): StepSequence => ({
    ...{
      tokenIds: Array.from({ length: count }, (_, i) => (contextLength + 3 * i) % tinyShape.vocabSize),
      contextLength,
    },
    ...{ blockTable, attention, denseUntil: 200, logits: "last" },
  });
  return [row(0, 200), row(200, 1), row(201, 1), row(202, 1)];
}

const total = ({ linears: _, ...tasks }: StepTimes) => Object.values(tasks).reduce((sum, value) => sum + value, 0);

it.each([1, 2])(
  "a timed step gives the same bits, on %d threads, and times that its wall time holds",
  async (threads) => {
    const [timed, plain] = [await open(threads), await open(threads)];
    try {
      for (const attention of [dense, sparq, random]) {
        for (const sequence of stepsOf(attention)) {
          const [one, other] = [await timed.step([sequence], { timed: true }), await plain.step([sequence])];
          expect(one.logits).toEqual(other.logits);
          expect(one.traffic).toEqual(other.traffic);
          expect(other.times).toBeUndefined();
          for (const value of Object.values(one.times!)) expect(value).toBeGreaterThanOrEqual(0);
          expect(total(one.times!)).toBeLessThanOrEqual(threads * one.attentionSeconds);
          expect(one.attentionSeconds).toBeLessThan(one.seconds);
        }
      }
    } finally {
      timed.close();
      plain.close();
    }
  },
);

it("time is given to what the rows do, and a step begins anew", async () => {
  const session = await open(1);
  try {
    const timesOf = async (sequence: StepSequence) => (await session.step([sequence], { timed: true })).times!;
    const nothing = { linears: 0, scan: 0, topK: 0, gather: 0, other: 0 };
    const [prompt, first] = stepsOf(sparq) as [StepSequence, StepSequence];
    const some = expect.any(Number);
    // The graph's linears are ONNX Runtime's own.
    expect(await timesOf(prompt)).toEqual({ ...nothing, append: some, dense: some });
    expect(await timesOf(first)).toMatchObject({ linears: 0, dense: 0, other: 0 });
    expect(await timesOf({ ...first, attention: dense })).toEqual({ ...nothing, append: some, dense: some });
    expect(await timesOf({ ...first, attention: random })).toMatchObject({ ...nothing, other: some, dense: 0 });
  } finally {
    session.close();
  }
});
