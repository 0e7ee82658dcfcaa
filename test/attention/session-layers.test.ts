/** Rows that pass through a graph's layers in several steps. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { packStep } from "../../attention/pack.ts";
import { openSession, type Session } from "../../attention/session.ts";
import type { AttentionSettings, StepSequence } from "../../attention/types.ts";
import { graphFolder } from "./graph-files.ts";
import { decoderModel, makeDecoder, tinyShape } from "./tiny-decoder.ts";

const graphs = graphFolder();
const shape = { ...tinyShape, layers: 4 };
const decoder = makeDecoder(shape, 3);
const model = (relays: readonly number[]) => decoderModel(decoder, () => ({}), relays);
const withRelays = graphs.write("relays.onnx", model([1, 2, 3]));
const without = graphs.write("whole.onnx", model([]));
const BLOCK = 64;

const dense: AttentionSettings = { mode: "dense", r: 1, k: 1, local: 0, meanValue: false, groupSum: "softmax" };
const sparq: AttentionSettings = { mode: "sparq", r: 8, k: 16, local: 4, meanValue: true, groupSum: "softmax" };

const open = (path = withRelays) =>
  openSession({ graphPath: path, config: shape, blocks: 16, blockSize: BLOCK, threads: 2 });
const tokensFrom = (first: number, count: number) =>
  Array.from({ length: count }, (_, i) => ((first + i) * 37) % shape.vocabSize);

/** A stream that decodes by SparQ, one token more each time. */
class Stream {
  private length = 40;

  prompt(): StepSequence {
    return { ...this.rows(0, 40), logits: "none" };
  }

  next(): StepSequence {
    this.length += 1;
    return this.rows(this.length - 1, 1);
  }

  private rows(contextLength: number, count: number): StepSequence {
    const tokenIds = tokensFrom(contextLength, count);
    return { tokenIds, contextLength, blockTable: [3, 9], attention: sparq, denseUntil: 40, logits: "last" };
  }
}

/** A chunk of a prompt, all its logits wanted. */
function chunk(tokenIds: readonly number[], contextLength: number, blockTable: readonly number[]): StepSequence {
  return {
    tokenIds,
    contextLength,
    blockTable,
    attention: dense,
    denseUntil: contextLength + tokenIds.length,
    logits: "all",
  };
}

/** Runs chunks beside a stream, stopping before the layers `stops`. The stream's logits of each step, and the chunks' own. */
async function runInParts(session: Session, chunks: readonly StepSequence[], stops: readonly number[]) {
  const stream = new Stream();
  await session.step([stream.prompt()]);
  const streamed: Float32Array[] = [];
  let hidden: readonly (Float32Array | undefined)[] = chunks.map(() => undefined);
  for (const [i, begin] of [0, ...stops].entries()) {
    const end = stops[i] ?? shape.layers;
    const tail = chunks.map((sequence, j): StepSequence => {
      const own = hidden[j];
      const logits = end === shape.layers ? "all" : "none";
      return { ...sequence, logits, layers: { begin, end, ...(own === undefined ? {} : { hidden: own }) } };
    });
    const output = await session.step([stream.next(), ...tail]);
    streamed.push(output.logits[0]!);
    hidden = output.hidden.slice(1);
    if (end === shape.layers) return { streamed, chunks: output.logits.slice(1), hidden };
  }
  throw new Error("the last layer was not reached");
}

/** The same, chunks through all layers in the first step. */
async function runWhole(session: Session, chunks: readonly StepSequence[], steps: number) {
  const stream = new Stream();
  await session.step([stream.prompt()]);
  const first = await session.step([stream.next(), ...chunks]);
  const streamed = [first.logits[0]!];
  while (streamed.length < steps) streamed.push((await session.step([stream.next()])).logits[0]!);
  return { streamed, chunks: first.logits.slice(1) };
}

describe("rows that stop between layers", () => {
  it("end, and leave the rows beside them, as if they had gone through at once: bit for bit", async () => {
    const [parts, whole] = await Promise.all([open(), open(without)]);
    expect(parts.layers).toBe(4);
    expect(whole.layers).toBeUndefined();
    await fc.assert(
      fc.asyncProperty(
        fc.subarray([1, 2, 3]),
        fc.integer({ min: 1, max: 50 }),
        fc.option(fc.integer({ min: 1, max: 50 })),
        async (stops, rows, more) => {
          const chunks = [chunk(tokensFrom(7, rows), 0, [1])];
          if (more !== null) chunks.push(chunk(tokensFrom(11, more), 0, [5]));
          const inParts = await runInParts(parts, chunks, stops);
          const atOnce = await runWhole(whole, chunks, stops.length + 1);
          expect(inParts.streamed).toEqual(atOnce.streamed);
          expect(inParts.chunks).toEqual(atOnce.chunks);
          expect(inParts.hidden.every((own) => own === undefined)).toBe(true);
        },
      ),
      { seed: 4, numRuns: 25 },
    );
    parts.close();
    whole.close();
  });

  it("leave their keys and values in the cache for rows that follow", async () => {
    const [parts, whole] = await Promise.all([open(), open(without)]);
    const first = chunk(tokensFrom(7, 70), 0, [1, 2]);
    const second = chunk(tokensFrom(77, 30), 70, [1, 2]);
    await runInParts(parts, [first], [1, 3]);
    const after = await runInParts(parts, [second], [2]);
    await runWhole(whole, [first], 1);
    expect(after.chunks).toEqual((await runWhole(whole, [second], 1)).chunks);
    parts.close();
    whole.close();
  });

  it("may be given up and begun again", async () => {
    const [parts, whole] = await Promise.all([open(), open(without)]);
    const rows = chunk(tokensFrom(7, 20), 0, [1]);
    const stream = new Stream();
    await parts.step([stream.prompt()]);
    await parts.step([stream.next(), { ...rows, logits: "none", layers: { begin: 0, end: 2 } }]);
    expect((await runInParts(parts, [rows], [3])).chunks).toEqual((await runWhole(whole, [rows], 1)).chunks);
    parts.close();
    whole.close();
  });

  it("are refused, with the numbers, where they do not fit", async () => {
    const session = await open();
    const whole = await open(without);
    const beside = new Stream().prompt();
    const rows = { ...chunk(tokensFrom(7, 20), 0, [1]), logits: "none" as const };
    const hidden = new Float32Array(20 * shape.hidden);
    const step = (sequences: readonly StepSequence[], on = session) => on.step(sequences);
    await expect(step([beside, { ...rows, layers: { begin: 0, end: 2 } }], whole)).rejects.toThrow(
      "the graph has no relays",
    );
    await expect(step([{ ...rows, layers: { begin: 0, end: 2 } }])).rejects.toThrow(
      "the tail begins at sequence 0 of 1",
    );
    await expect(step([beside, { ...rows, layers: { begin: 2, end: 2 } }])).rejects.toThrow("layers are 2 to 2");
    await expect(step([beside, { ...rows, layers: { begin: 2, end: 5, hidden } }])).rejects.toThrow(
      "layers are 2 to 5, must be some of 0 to 4",
    );
    await expect(step([beside, { ...rows, layers: { begin: -1, end: 2 } }])).rejects.toThrow("-1");
    await expect(step([beside, { ...rows, layers: { begin: 1, end: 2 } }])).rejects.toThrow(
      "hidden state has 0 values, must have 960 for 20 rows that begin at layer 1",
    );
    await expect(step([beside, { ...rows, layers: { begin: 0, end: 2, hidden } }])).rejects.toThrow(
      "hidden state has 960 values, must have 0",
    );
    await expect(step([beside, { ...rows, logits: "last", layers: { begin: 0, end: 2 } }])).rejects.toThrow(
      "logits of row 59 are wanted, which stops before layer 2 of 4",
    );
    // Nothing was written, and the session goes on.
    expect((await step([beside, { ...rows, layers: { begin: 0, end: 2 } }])).hidden[1]!.length).toBe(960);
    session.close();
    whole.close();
  });

  it("come last in a step and agree", () => {
    const rows = { ...chunk([1, 2], 0, [1]), logits: "none" as const };
    const part = { ...rows, layers: { begin: 0, end: 2 } };
    expect(() => packStep([rows, part, rows])).toThrow("sequence 2 passes through all layers, after sequence 1");
    expect(() => packStep([rows, part, { ...rows, layers: { begin: 0, end: 3 } }])).toThrow(
      "sequence 2 passes through layers 0 to 3, others of the step through 0 to 2",
    );
  });

  it("need relays before every layer but the first, of one width", async () => {
    await expect(open(graphs.write("gap.onnx", model([1, 3])))).rejects.toThrow("Relay nodes for 2 of its 4 layers");
    const twice = model([1, 2, 3]);
    const relays = twice.graph!.node!.filter(({ opType }) => opType === "Relay");
    relays[1]!.attribute!.find(({ name }) => name === "layer")!.i = 1 as never;
    await expect(open(graphs.write("twice.onnx", twice))).rejects.toThrow("both have layer 1");
  });
});
