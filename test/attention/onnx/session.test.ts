import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadAddon } from "../../../attention/binding.ts";
import { openDecoder } from "../../../attention/onnx/session.ts";
import { greedySampling, packSampling, sampledRow } from "../../../attention/sampling.ts";
import type { StepSession } from "../../../attention/session.ts";
import type { RowSampling, StepSequence } from "../../../attention/types.ts";
import { exportsFolder, readConfig } from "../../models/exports.ts";
import { dense } from "../../support/dense.ts";

const folder = join(exportsFolder, "llama-optimum");
const config = readConfig(folder);
const BLOCK = 4;
const BLOCKS = 24;
const tokens = Array.from({ length: 64 }, (_, i) => (i * 37 + 5) % config.vocabSize);

let session: StepSession;
beforeAll(async () => {
  const decoder = await openDecoder(join(folder, "model.onnx"), { ...config, certain: true }, { threads: 1 });
  session = await decoder.begin({ blocks: BLOCKS, blockSize: BLOCK });
});
afterAll(() => session.close());

function part(begin: number, end: number, blockTable: readonly number[], logits: StepSequence["logits"]): StepSequence {
  return { ...dense, tokenIds: tokens.slice(begin, end), contextLength: begin, blockTable, logits };
}

async function logitsOf(...sequences: StepSequence[]): Promise<readonly Float32Array[]> {
  const { logits, errors } = await session.step(sequences);
  expect(errors).toEqual(sequences.map(() => undefined));
  return logits;
}

function expectClose(a: Float32Array, b: Float32Array): void {
  expect(a.length).toBe(b.length);
  expect(a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0)).toBeLessThan(1e-5);
}

describe("a session over a model as it is", () => {
  it("goes on behind blocks that another sequence has written", async () => {
    const [whole] = await logitsOf(part(0, 12, [0, 1, 2], "all"));
    const rest = whole!.subarray(8 * config.vocabSize);
    const [shared] = await logitsOf(part(8, 12, [0, 1, 3], "all"));
    expectClose(shared!, rest);
    // The first one goes on as if nothing had been.
    const [next] = await logitsOf(part(12, 13, [0, 1, 2, 4], "last"));
    const [alone] = await logitsOf(part(0, 13, [5, 6, 7, 8], "last"));
    expectClose(next!, alone!);
  });

  it("reads what blocks hold now, not what a step before has left", async () => {
    const table = [9, 10];
    await logitsOf(part(0, 6, table, "none"));
    // Another text in the same blocks, up to the same length.
    const others = tokens.slice(30, 36);
    await logitsOf({ ...part(0, 6, table, "none"), tokenIds: others });
    const [after] = await logitsOf({ ...part(6, 7, table, "last"), tokenIds: [1] });
    const [expected] = await logitsOf({ ...part(0, 7, [11, 12], "last"), tokenIds: [...others, 1] });
    expectClose(after!, expected!);
    const [mixed] = await logitsOf({ ...part(0, 7, [13, 14], "last"), tokenIds: [...tokens.slice(0, 6), 1] });
    expect(Math.abs(mixed![0]! - after![0]!)).toBeGreaterThan(1e-3);
  });

  it("copies a block, which then has a life of its own", async () => {
    await logitsOf(part(0, 6, [0, 1], "none"));
    session.copyBlock(1, 2);
    const [other] = await logitsOf({ ...part(6, 8, [0, 2], "last"), tokenIds: [3, 4] });
    const [own] = await logitsOf(part(6, 8, [0, 1], "last"));
    const [otherAlone] = await logitsOf({ ...part(0, 8, [5, 6], "last"), tokenIds: [...tokens.slice(0, 6), 3, 4] });
    const [ownAlone] = await logitsOf(part(0, 8, [7, 8], "last"));
    expectClose(other!, otherAlone!);
    expectClose(own!, ownAlone!);
  });

  it("gives a sequence the same bits whoever is beside it", async () => {
    const steps = (table: readonly number[]) => [
      part(0, 5, table, "last"),
      part(5, 6, table, "last"),
      part(6, 9, table, "all"),
    ];
    const alone: Float32Array[] = [];
    for (const step of steps([0, 1, 2])) alone.push((await logitsOf(step))[0]!);
    const neighbours = [part(0, 9, [3, 4, 5], "none"), part(0, 2, [6], "last"), part(0, 7, [7, 8], "all")];
    for (const [i, step] of steps([9, 10, 11]).entries()) {
      const logits = await logitsOf(neighbours[i]!, step);
      expect(logits[1]).toEqual(alone[i]);
    }
  });

  it("samples rows as the kernels do, those of each sequence with their own settings", async () => {
    const random: RowSampling = { ...greedySampling, temperature: 1, topP: 0.9, uniform: 0.7, logprobs: 2 };
    const rows: RowSampling[][] = [[greedySampling], [random, { ...random, uniform: 0.1 }, { ...random, topK: 3 }]];
    const plain = [part(0, 5, [0, 1], "last"), part(0, 3, [2], "all")];
    const logits = await logitsOf(...plain);
    const sequences = plain.map((step, i) => ({ ...step, sampling: rows[i]! }));
    const { sampled, logits: none } = await session.step(sequences);
    expect(none.map(({ length }) => length)).toEqual([0, 0]);
    const all = Float32Array.from(logits.flatMap((values) => [...values]));
    const addon = loadAddon();
    const expected = addon.sample(
      addon.defaultPath(),
      1,
      config.vocabSize,
      all,
      packSampling([0, 1, 2, 3], rows.flat()),
    );
    const given = rows.flat().map((row, i) => sampledRow(expected, i, row.logprobs));
    expect(sampled.flat()).toEqual(given);
    expect(given.map(({ top }) => top.length)).toEqual([0, 2, 2, 2]);
  });

  it("takes masks and rows whose logits nobody samples beside sampled ones", async () => {
    const mask = Int32Array.of(1 << 9, 0);
    const { sampled, logits } = await session.step([
      { ...part(0, 4, [0], "last"), sampling: [{ ...greedySampling, mask }] },
      part(0, 4, [1], "last"),
      part(0, 4, [2], "none"),
    ]);
    expect(sampled.map((rows) => rows.map(({ tokenId }) => tokenId))).toEqual([[9], [], []]);
    expect(logits.map(({ length }) => length)).toEqual([0, config.vocabSize, 0]);
  });

  it.each<[string, StepSequence, RegExp]>([
    [
      "a token outside the vocabulary",
      { ...part(0, 1, [0], "last"), tokenIds: [56] },
      /tokenIds\[0\] is 56, the vocabulary has 56/,
    ],
    [
      "a table that is too short",
      part(0, 5, [0], "last"),
      /has 1 blocks of 4 positions; 0 cached and 5 new positions need more/,
    ],
    ["a block that there is not", part(0, 5, [0, 24], "last"), /has block 24, the store has 24 blocks/],
    ["no rows", part(3, 3, [0], "none"), /sequence 0 has no rows/],
    [
      "rows that stop between layers",
      { ...part(0, 1, [0], "none"), layers: { begin: 0, end: 1 } },
      /sequence 0|between the layers/,
    ],
  ])("refuses a step with %s, and goes on", async (_, sequence, message) => {
    const before = await logitsOf(part(0, 4, [0], "last"));
    await expect(session.step([sequence])).rejects.toThrow(message);
    expect(await logitsOf(part(0, 4, [0], "last"))).toEqual(before);
  });

  it("refuses two writers of a block", async () => {
    const both = session.step([part(0, 2, [3], "none"), part(2, 4, [3], "none")]);
    await expect(both).rejects.toThrow("block 3 would be written by sequence 0 and again by sequence 1");
  });

  it("runs one step at a time, and copies no block meanwhile", async () => {
    const running = session.step([part(0, 4, [0], "last")]);
    await expect(session.step([part(0, 4, [1], "last")])).rejects.toThrow("a step of this session is running already");
    expect(() => session.copyBlock(0, 1)).toThrow("while a step runs");
    await running;
    expect(() => session.copyBlock(0, BLOCKS)).toThrow("block 24 of 24");
  });

  it("ends the step that runs before it closes; afterwards nothing runs", async () => {
    const decoder = await openDecoder(join(folder, "model.onnx"), { ...config, certain: true }, { threads: 1 });
    const own = await decoder.begin({ blocks: 2, blockSize: BLOCK });
    const running = own.step([part(0, 4, [0], "last")]);
    own.close();
    own.close();
    expect((await running).logits[0]).toHaveLength(config.vocabSize);
    await expect(own.step([part(0, 4, [0], "last")])).rejects.toThrow("the session is closed");
  });
});
