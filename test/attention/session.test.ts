import { describe, expect, it } from "vitest";
import { packStep } from "../../attention/pack.ts";
import { greedySampling } from "../../attention/sampling.ts";
import { Sampler } from "../../attention/sampling-reference.ts";
import { openSession, type Session } from "../../attention/session.ts";
import type { AttentionSettings, RowSampling, StepSequence } from "../../attention/types.ts";
import { writeModel } from "../../models/onnx/proto.ts";
import { seeded } from "../contract/attention-fixture.ts";
import { graphFolder } from "./graph-files.ts";
import { decoderModel, makeDecoder, ReferenceDecoder, tinyShape } from "./tiny-decoder.ts";

const graphs = graphFolder();
const decoder = makeDecoder();
const graphPath = graphs.write("tiny.onnx", decoderModel(decoder));

const dense: AttentionSettings = { mode: "dense", r: 1, k: 1, local: 0, meanValue: false, groupSum: "softmax" };
const sparq: AttentionSettings = { mode: "sparq", r: 8, k: 24, local: 6, meanValue: true, groupSum: "softmax" };

const random = seeded(5);
const tokens = Array.from({ length: 400 }, () => Math.floor(random() * tinyShape.vocabSize));

function open(options: { threads?: number; path?: string } = {}): Promise<Session> {
  return openSession({
    graphPath: options.path ?? graphPath,
    config: tinyShape,
    blocks: 16,
    blockSize: 64,
    threads: options.threads ?? 2,
  });
}

function largestDifference(a: Float32Array, b: Float32Array): number {
  expect(a.length).toBe(b.length);
  return a.reduce((largest, value, i) => Math.max(largest, Math.abs(value - b[i]!)), 0);
}

/** Chunks and decode rows of three sequences, mixed; the ones that decode with SparQ end past k visible positions. */
function mixedSteps(): StepSequence[][] {
  const sequence = (offset: number, blockTable: number[], attention: AttentionSettings, denseUntil: number) => {
    let contextLength = 0;
    return (rows: number, logits: StepSequence["logits"]): StepSequence => {
      const tokenIds = tokens.slice(offset + contextLength, offset + contextLength + rows);
      const step = { tokenIds, contextLength, blockTable, attention, denseUntil, logits };
      contextLength += rows;
      return step;
    };
  };
  const a = sequence(0, [3, 7, 1], dense, 150);
  const b = sequence(200, [2, 9], { ...sparq, groupSum: "logits", meanValue: false }, 60);
  const c = sequence(300, [15], sparq, 30);
  return [
    [a(100, "none")],
    [a(50, "last"), b(60, "all")],
    [b(1, "last"), c(30, "none"), a(1, "last")],
    [a(1, "last"), b(1, "last"), c(1, "last")],
    [c(2, "all"), b(9, "last")],
  ];
}

describe("a session on a small graph", () => {
  it("gives the logits and the traffic of the reference, for ragged steps of any size", async () => {
    const session = await open();
    const reference = new ReferenceDecoder(decoder, 16);
    expect(session.session.layers).toBe(tinyShape.layers);
    expect(session.session.runtimeVersion).toMatch(/^1\.\d+\.\d+/);
    for (const sequences of mixedSteps()) {
      const { input } = packStep(sequences);
      const output = await session.session.step(input);
      const expected = reference.step(input);
      expect(largestDifference(output.logits, expected.logits)).toBeLessThan(2e-4);
      expect(output.traffic).toEqual(expected.traffic);
      expect(output.attentionSeconds).toBeGreaterThan(0);
      expect(output.attentionSeconds).toBeLessThan(output.seconds);
    }
    session.close();
  });

  it("splits the logits by sequence", async () => {
    const session = await open();
    const part = { tokenIds: tokens.slice(0, 3), contextLength: 0, attention: dense, denseUntil: 3 };
    const { logits } = await session.step([
      { ...part, blockTable: [0], logits: "all" },
      { ...part, blockTable: [1], logits: "none" },
      { ...part, blockTable: [2], logits: "last" },
    ]);
    expect(logits.map((rows) => rows.length)).toEqual([3 * tinyShape.vocabSize, 0, tinyShape.vocabSize]);
    expect(logits[2]).toEqual(logits[0]!.subarray(2 * tinyShape.vocabSize));
    session.close();
  });

  it("samples rows inside the step, as the reference does from their logits", async () => {
    const [session, plain] = await Promise.all([open(), open()]);
    const sampler = new Sampler(tinyShape.vocabSize);
    const part = { contextLength: 0, attention: dense, denseUntil: 3 };
    const row = (changes: Partial<RowSampling>): RowSampling => ({ ...greedySampling, logprobs: 2, ...changes });
    const all = [row({}), row({ temperature: 1, uniform: 0.7 }), row({ token: 5 })];
    const last = [row({ temperature: 2, topK: 5, uniform: 0.9 })];
    const sequences: StepSequence[] = [
      { ...part, tokenIds: tokens.slice(0, 3), blockTable: [0], logits: "all", sampling: all },
      { ...part, tokenIds: tokens.slice(3, 9), blockTable: [1], logits: "none" },
      { ...part, tokenIds: tokens.slice(9, 12), blockTable: [2], logits: "last", sampling: last },
    ];
    const { logits } = await plain.step(sequences.map(({ sampling, ...sequence }) => sequence));
    // Twice, since the second step writes its logits where the first one did.
    for (let run = 0; run < 2; run++) {
      const output = await session.step(sequences);
      expect(output.logits.map(({ length }) => length)).toEqual([0, 0, 0]);
      expect(output.sampled.map(({ length }) => length)).toEqual([3, 0, 1]);
      expect(output.samplingSeconds).toBeLessThan(output.seconds);
      for (const [i, rows] of [all, [], last].entries()) {
        for (const [j, parameters] of rows.entries()) {
          const { vocabSize } = tinyShape;
          const expected = sampler.sample(logits[i]!.subarray(j * vocabSize, (j + 1) * vocabSize), parameters);
          const actual = output.sampled[i]![j]!;
          expect(actual.tokenId).toBe(expected.tokenId);
          expect(actual.logprob).toBeCloseTo(expected.logprob, 5);
          expect(actual.top.map(({ tokenId }) => tokenId)).toEqual(expected.top.map(({ tokenId }) => tokenId));
        }
      }
    }
    // Where one sequence wants its logits, all come, and each gets its own.
    const [first, second, third] = sequences as [StepSequence, StepSequence, StepSequence];
    const mixed = await session.step([first, { ...second, logits: "last" }, third]);
    expect(mixed.logits.map(({ length }) => length)).toEqual([0, tinyShape.vocabSize, 0]);
    const { logits: secondLogits } = await plain.step([{ ...second, logits: "last" }]);
    expect(mixed.logits[1]).toEqual(secondLogits[0]);
    const wrong = { ...first, sampling: last };
    await expect(session.step([wrong])).rejects.toThrow("sequence 0: sampling of 1 rows, 3 have logits");
    const hot = { ...third, sampling: [row({ temperature: -1 })] };
    await expect(session.step([hot])).rejects.toThrow("sampling of row 0: temperature is -1");
    session.close();
    plain.close();
  });

  it("gives the same bits for a sequence alone, among others, in chunks, and for any number of threads", async () => {
    const [alone, among] = await Promise.all([open({ threads: 1 }), open({ threads: 2 })]);
    const prompt = { attention: sparq, denseUntil: 90 };
    const tokenIds = tokens.slice(0, 90);
    await alone.step([{ ...prompt, tokenIds, contextLength: 0, blockTable: [0, 1], logits: "none" }]);
    await among.step([
      { ...prompt, tokenIds: tokens.slice(100, 165), contextLength: 0, blockTable: [8, 9], logits: "none" },
      { ...prompt, tokenIds: tokenIds.slice(0, 37), contextLength: 0, blockTable: [5, 6], logits: "none" },
    ]);
    await among.step([
      { ...prompt, tokenIds: tokenIds.slice(37), contextLength: 37, blockTable: [5, 6], logits: "none" },
    ]);
    for (let i = 0; i < 20; i++) {
      const decode = { ...prompt, tokenIds: [tokens[90 + i]!], contextLength: 90 + i, logits: "last" as const };
      const other = {
        ...prompt,
        tokenIds: [tokens[i]!],
        contextLength: 65 + i,
        blockTable: [8, 9],
        logits: "last" as const,
      };
      const [expected, actual] = await Promise.all([
        alone.step([{ ...decode, blockTable: [0, 1] }]),
        among.step([other, { ...decode, blockTable: [5, 6] }]),
      ]);
      expect(actual.logits[1]).toEqual(expected.logits[0]);
    }
    alone.close();
    among.close();
  });

  it("attends as before from a copied block", async () => {
    const session = await open();
    const prefix = { attention: dense, denseUntil: 41, logits: "last" as const };
    await session.step([{ ...prefix, tokenIds: tokens.slice(0, 40), contextLength: 0, blockTable: [4] }]);
    session.store.copyBlock(4, 11);
    const next = { ...prefix, tokenIds: [7], contextLength: 40 };
    const { logits } = await session.step([
      { ...next, blockTable: [4] },
      { ...next, blockTable: [11] },
    ]);
    expect(logits[1]).toEqual(logits[0]);
    session.close();
  });

  it("does without rope, and hides what a sliding window hides", async () => {
    const shape = { ...tinyShape, window: 50, rotaryDim: 0, layers: 1 };
    const windowed = makeDecoder(shape);
    const model = decoderModel(windowed);
    // An optional input that is absent is spelled "" or left out; here it is left out.
    const node = model.graph!.node.find(({ opType }) => opType === "PagedAttention")!;
    node.input = node.input.slice(0, 3);
    const path = graphs.write("window.onnx", model);
    const session = await openSession({ graphPath: path, config: shape, blocks: 4, blockSize: 64, threads: 1 });
    const reference = new ReferenceDecoder(windowed, 4);
    const run = {
      tokenIds: tokens.slice(0, 120),
      contextLength: 0,
      blockTable: [0, 1],
      denseUntil: 100,
      logits: "all",
    } as const;
    const { input } = packStep([{ ...run, attention: { ...sparq, k: 16, local: 4 } }]);
    const output = await session.session.step(input);
    const expected = reference.step(input);
    expect(largestDifference(output.logits, expected.logits)).toBeLessThan(2e-4);
    expect(output.traffic).toEqual(expected.traffic);
    session.close();
  });

  it("loads weights from an external file beside the graph", async () => {
    const path = graphs.path("external.onnx");
    writeModel(path, decoderModel(decoder), { externalData: { location: "external.onnx.data", threshold: 64 } });
    const [external, inline] = await Promise.all([open({ path }), open()]);
    const sequence = { tokenIds: tokens.slice(0, 5), contextLength: 0, blockTable: [0], denseUntil: 5 };
    const steps = [external, inline].map((s) => s.step([{ ...sequence, attention: dense, logits: "all" }]));
    const [a, b] = await Promise.all(steps);
    expect(a!.logits).toEqual(b!.logits);
    external.close();
    inline.close();
  });
});
