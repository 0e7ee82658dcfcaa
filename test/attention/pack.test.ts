import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { packStep, SETTINGS_LENGTH } from "../../attention/pack.ts";
import type { AttentionSettings, StepSequence } from "../../attention/types.ts";

const sparq: AttentionSettings = { mode: "sparq", r: 16, k: 128, local: 32, meanValue: true, groupSum: "logits" };
const dense: AttentionSettings = { mode: "dense", r: 8, k: 64, local: 0, meanValue: false, groupSum: "softmax" };

const recent: AttentionSettings = { ...sparq, meanValue: false, groupSum: "softmax", rank: "none", sinks: 4 };

function sequence(fields: Partial<StepSequence>): StepSequence {
  return {
    tokenIds: [1],
    contextLength: 0,
    blockTable: [0],
    attention: dense,
    denseUntil: 1,
    logits: "last",
    ...fields,
  };
}

describe("packStep", () => {
  it("lays a prefill chunk, a decode row and a chunk that wants nothing side by side", () => {
    const { input, logitRanges } = packStep([
      sequence({ tokenIds: [5, 6, 7], contextLength: 64, blockTable: [9, 3], denseUntil: 67, logits: "all" }),
      sequence({ tokenIds: [8], contextLength: 200, blockTable: [4, 5, 6, 7], attention: sparq, denseUntil: 12 }),
      sequence({ tokenIds: [1, 2], blockTable: [1], logits: "none", denseUntil: 90 }),
      sequence({ tokenIds: [3, 4], blockTable: [2], attention: recent, denseUntil: 2 }),
    ]);
    expect(input).toEqual({
      tokenIds: Int32Array.of(5, 6, 7, 8, 1, 2, 3, 4),
      rowStarts: Int32Array.of(0, 3, 4, 6, 8),
      contextLengths: Int32Array.of(64, 200, 0, 0),
      blockTables: Int32Array.of(9, 3, 4, 5, 6, 7, 1, 2),
      blockTableStarts: Int32Array.of(0, 2, 6, 7, 8),
      settings: Int32Array.of(
        ...[0, 8, 64, 0, 0, 0, 67, 0, 0, 0],
        ...[1, 16, 128, 32, 1, 1, 12, 0, 0, 0],
        ...[0, 8, 64, 0, 0, 0, 90, 0, 0, 0],
        ...[1, 16, 128, 32, 0, 0, 2, 0, 2, 4],
      ),
      logitRows: Int32Array.of(0, 1, 2, 3, 7),
    });
    expect(logitRanges).toEqual([
      { start: 0, end: 3 },
      { start: 3, end: 4 },
      { start: 4, end: 4 },
      { start: 4, end: 5 },
    ]);
  });

  it("packs no sequence into empty arrays and one zero in each list of starts", () => {
    const { input, logitRanges } = packStep([]);
    expect(input.rowStarts).toEqual(Int32Array.of(0));
    expect(input.blockTableStarts).toEqual(Int32Array.of(0));
    expect([input.tokenIds, input.settings, input.logitRows].map((array) => array.length)).toEqual([0, 0, 0]);
    expect(logitRanges).toEqual([]);
  });

  it("gives back every sequence's tokens, blocks and logit rows", () => {
    const ids = fc.array(fc.nat(1000), { minLength: 1, maxLength: 9 });
    const any = fc.record({ tokenIds: ids, blockTable: ids, logits: fc.constantFrom("none", "last", "all") });
    fc.assert(
      fc.property(fc.array(any, { maxLength: 8 }), (parts) => {
        const { input, logitRanges } = packStep(parts.map(sequence));
        for (const [i, part] of parts.entries()) {
          const [from, to] = [input.rowStarts[i]!, input.rowStarts[i + 1]!];
          expect([...input.tokenIds.slice(from, to)]).toEqual(part.tokenIds);
          const table = input.blockTables.slice(input.blockTableStarts[i], input.blockTableStarts[i + 1]);
          expect([...table]).toEqual(part.blockTable);
          const rows = [...input.logitRows.slice(logitRanges[i]!.start, logitRanges[i]!.end)];
          const all = part.tokenIds.map((_, row) => from + row);
          expect(rows).toEqual(part.logits === "all" ? all : part.logits === "last" ? all.slice(-1) : []);
        }
        expect(input.settings.length).toBe(parts.length * SETTINGS_LENGTH);
        expect(logitRanges.at(-1)?.end ?? 0).toBe(input.logitRows.length);
      }),
    );
  });

  it.each([
    ["tokenIds", { tokenIds: [2 ** 31] }],
    ["tokenIds", { tokenIds: [1.5] }],
    ["contextLength", { contextLength: -(2 ** 40) }],
    ["blockTable", { blockTable: [0, Number.NaN] }],
    ["attention", { attention: { ...dense, k: 2 ** 32 } }],
  ] as const)("refuses a value of %s that int32 would change: %j", (field, part) => {
    expect(() => packStep([sequence({}), sequence(part)])).toThrow(new RegExp(`^sequence 1: ${field} holds .*int32`));
  });
});
