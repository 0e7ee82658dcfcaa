/** What a session refuses in a step's input. Each message names the field and the numbers. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { packStep, SETTINGS_LENGTH } from "../../attention/pack.ts";
import { openSession, type Session } from "../../attention/session.ts";
import type { StepInput } from "../../attention/types.ts";
import { dense } from "../contract/attention-fixture.ts";
import { graphFolder } from "./graph-files.ts";
import { decoderModel, makeDecoder, tinyShape } from "./tiny-decoder.ts";

const graphPath = graphFolder().write("tiny.onnx", decoderModel(makeDecoder()));

function open(): Promise<Session> {
  return openSession({ graphPath, config: tinyShape, blocks: 8, blockSize: 64, threads: 1 });
}

describe("a step's input", () => {
  let session: Session;
  let expected: Float32Array;
  const sequence = { contextLength: 0, attention: dense, denseUntil: 70, logits: "last" as const };
  const { input: good } = packStep([
    { ...sequence, tokenIds: Array.from({ length: 70 }, (_, i) => i % 50), blockTable: [3, 4] },
    { ...sequence, tokenIds: [1, 2], blockTable: [5] },
  ]);

  beforeAll(async () => {
    session = await open();
    expected = (await session.session.step(good)).logits;
  });
  afterAll(() => session.close());

  const ints = (...values: number[]) => Int32Array.from(values);
  /** The good settings with one value of the second sequence changed. */
  const settings = (index: number, value: number) => good.settings.with(SETTINGS_LENGTH + index, value);
  const tokens = (length: number) => new Int32Array(length);

  it.each<[string, Partial<Record<keyof StepInput, unknown>>, string]>([
    [
      "a token of the vocabulary's size",
      { tokenIds: good.tokenIds.with(71, 50) },
      "tokenIds[71] is 50, the vocabulary has 50",
    ],
    ["a negative token", { tokenIds: good.tokenIds.with(0, -1) }, "tokenIds[0] is -1, the vocabulary has 50 tokens"],
    ["fewer tokens than rows", { tokenIds: tokens(71) }, "rowStarts ends with 72, but there are 71 rows"],
    ["no tokens", { tokenIds: tokens(0) }, "rowStarts ends with 72, but there are 0 rows"],
    ["tokens as an array", { tokenIds: [...good.tokenIds] }, "tokenIds must be an Int32Array"],
    ["tokens as floats", { tokenIds: new Float32Array(72) }, "tokenIds must be an Int32Array"],
    ["no row starts", { rowStarts: undefined }, "rowStarts must be an Int32Array"],
    ["too few row starts", { rowStarts: ints(0, 72) }, "rowStarts has 2 values, expected 3"],
    ["rows that begin late", { rowStarts: ints(1, 70, 72) }, "rowStarts[0] is 1, must be 0"],
    [
      "a sequence without rows",
      { rowStarts: ints(0, 72, 72) },
      "rowStarts[2] is 72 after 72: sequence 1 needs 1 or more rows",
    ],
    ["rows that fall back", { rowStarts: ints(0, 80, 72) }, "rowStarts[2] is 72 after 80"],
    ["rows that wrap", { rowStarts: ints(0, -(2 ** 31), 72) }, "rowStarts[1] is -2147483648 after 0"],
    ["no sequences", { contextLengths: ints() }, "contextLengths is empty"],
    ["a negative context", { contextLengths: ints(0, -1) }, "contextLengths[1] is -1, must not be negative"],
    [
      "a context past the table",
      { contextLengths: ints(0, 63) },
      "the block table of sequence 1 has 1 blocks of 64 positions, which hold 64; 63 cached and 2 new positions need 65",
    ],
    ["a context near 2^31", { contextLengths: ints(0, 2 ** 31 - 1) }, "need 2147483649"],
    [
      "a block of the store's size",
      { blockTables: ints(3, 8, 5) },
      "block 1 of sequence 0 is 8, the store has 8 blocks",
    ],
    ["a negative block", { blockTables: ints(3, 4, -1) }, "block 0 of sequence 1 is -1"],
    ["tables that begin late", { blockTableStarts: ints(1, 2, 3) }, "blockTableStarts[0] is 1, must be 0"],
    ["tables that fall back", { blockTableStarts: ints(0, 4, 3) }, "blockTableStarts[2] is 3 after 4"],
    [
      "tables that end late",
      { blockTableStarts: ints(0, 2, 4) },
      "blockTableStarts ends with 4, but there are 3 blocks",
    ],
    ["too few table starts", { blockTableStarts: ints(0, 3) }, "blockTableStarts has 2 values, expected 3"],
    ["an empty table", { blockTableStarts: ints(0, 3, 3) }, "the block table of sequence 1 has 0 blocks"],
    [
      "a block written twice",
      { blockTables: ints(3, 4, 4) },
      "block 4 would be written by sequence 0 and again by sequence 1",
    ],
    [
      "a block twice in a table",
      { blockTables: ints(3, 3, 5) },
      "block 3 would be written by sequence 0 and again by sequence 0",
    ],
    [
      "a block read and written",
      { contextLengths: ints(0, 64), blockTables: ints(3, 4, 3, 5), blockTableStarts: ints(0, 2, 4) },
      "block 3 is read by sequence 1 while it is written by sequence 0",
    ],
    ["too few settings", { settings: good.settings.subarray(1) }, "settings has 19 values, expected 20"],
    ["an unknown mode", { settings: settings(0, 2) }, "settings of sequence 1: mode is 2, must be 0 to 1"],
    ["r of 0", { settings: settings(1, 0) }, "settings of sequence 1: r is 0, must be 1 to 32"],
    ["r over the head size", { settings: settings(1, 33) }, "settings of sequence 1: r is 33, must be 1 to 32"],
    ["k of 0", { settings: settings(2, 0) }, "settings of sequence 1: k is 0, must be 1 to"],
    ["local over k", { settings: settings(3, 2) }, "settings of sequence 1: local is 2, must be 0 to 1"],
    ["a negative local", { settings: settings(3, -1) }, "settings of sequence 1: local is -1"],
    ["an odd meanValue", { settings: settings(4, 7) }, "settings of sequence 1: meanValue is 7, must be 0 to 1"],
    ["an odd sumLogits", { settings: settings(5, -7) }, "settings of sequence 1: sumLogits is -7, must be 0 to 1"],
    ["a negative denseUntil", { settings: settings(6, -2) }, "settings of sequence 1: denseUntil is -2"],
    [
      "a top-k of no kind",
      { settings: settings(7, 3) },
      "settings of sequence 1: bucketTopK is 3, must be 0, 1, 2 or 4",
    ],
    ["a rank of no kind", { settings: settings(8, 5) }, "settings of sequence 1: rank is 5, must be 0 to 4"],
    [
      "rank mass where no masses are tracked",
      { settings: settings(8, 4).with(SETTINGS_LENGTH, 1) },
      "settings of sequence 1: rank is mass, which needs a store that tracks masses (trackMass)",
    ],
    [
      "a mean value for a rank that estimates no mass",
      { settings: settings(8, 2).with(SETTINGS_LENGTH + 4, 1) },
      "settings of sequence 1: meanValue is 1, must be 0 with rank none",
    ],
    [
      "buckets of another rank",
      { settings: settings(8, 1).with(SETTINGS_LENGTH + 7, 2) },
      "settings of sequence 1: bucketTopK is 2, must be 0 with rank exact",
    ],
    [
      "sinks and local over k",
      {
        settings: settings(9, 30)
          .with(SETTINGS_LENGTH + 2, 40)
          .with(SETTINGS_LENGTH + 3, 11),
      },
      "settings of sequence 1: sinks is 30, must be 0 to k - local, which is 40 - 11",
    ],
    ["negative sinks", { settings: settings(9, -1) }, "settings of sequence 1: sinks is -1"],
    ["a logit row past the step", { logitRows: ints(0, 72) }, "logitRows[1] is 72, the step has 72 rows"],
    ["a negative logit row", { logitRows: ints(-1) }, "logitRows[0] is -1, the step has 72 rows"],
    ["logit rows that repeat", { logitRows: ints(4, 4) }, "logitRows[1] is 4 after 4, must ascend"],
  ])("is refused with %s", async (_, change, message) => {
    await expect(session.session.step({ ...good, ...change } as StepInput)).rejects.toThrow(message);
  });

  it("is refused when it is no object, or throws by itself", async () => {
    await expect(session.session.step(undefined as unknown as StepInput)).rejects.toThrow("the step must be an object");
    const trap = {
      ...good,
      get settings(): Int32Array {
        throw new Error("trapped");
      },
    };
    await expect(session.session.step(trap)).rejects.toThrow("trapped");
    const closing = {
      ...good,
      get settings(): Int32Array {
        other.close();
        return good.settings;
      },
    };
    const other = await open();
    await expect(other.session.step(closing)).rejects.toThrow("the session is closed");
  });

  it("is copied: writing to it during the step changes nothing", async () => {
    const tokenIds = good.tokenIds.slice();
    const running = session.session.step({ ...good, tokenIds });
    tokenIds.fill(9);
    expect((await running).logits).toEqual(expected);
  });

  it("gives the same logits as before all of these", async () => {
    expect((await session.session.step(good)).logits).toEqual(expected);
  });
});
