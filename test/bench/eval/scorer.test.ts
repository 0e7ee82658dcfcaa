import { describe, expect, it } from "vitest";
import { distributionsOf } from "../../../bench/accuracy/cache/tally.ts";
import { costOf, passageOf } from "../../../bench/eval/engines/scorer.ts";
import type { Tokenizer } from "../../../server/engine/types.ts";

/** A token for each character, but one for "xy". */
const tokenizer = {
  encode: (text: string) => (text.match(/xy|./gs) ?? []).map((part) => (part === "xy" ? 1000 : part.charCodeAt(0))),
} as unknown as Tokenizer;
const item = { kind: "score", id: "0", context: "abc", continuation: "fg", score: () => 0 } as const;
const codes = (text: string) => [...text].map((character) => character.charCodeAt(0));

describe("a passage", () => {
  it("predicts its continuation, all of which is scored", () => {
    expect(passageOf(tokenizer, item)).toEqual({ tokens: codes("abcf"), next: codes("fg"), scored: 2 });
  });

  it("predicts a question too, of which nothing is scored", () => {
    const passage = { tokens: codes("abcdef"), next: codes("defg"), scored: 2 };
    expect(passageOf(tokenizer, { ...item, question: "de" })).toEqual(passage);
  });

  it("scores a token across the border", () => {
    const across = { ...item, question: "dx", continuation: "yg" };
    expect(passageOf(tokenizer, across)).toEqual({
      tokens: [...codes("abcd"), 1000],
      next: [100, 1000, 103],
      scored: 2,
    });
  });

  it("without a context begins with what can be predicted", () => {
    expect(passageOf(tokenizer, { ...item, context: "" })).toEqual({ tokens: codes("f"), next: codes("g"), scored: 1 });
  });

  it("costs what its scored tokens do", () => {
    // Two rows over a vocabulary of two: p = 1/2 for both, then 1/4 and 3/4.
    const logits = Float32Array.from([0, 0, Math.log(1 / 4), Math.log(3 / 4)]);
    const rows = distributionsOf(logits, 2);
    expect(costOf(rows, { next: [0, 0], scored: 2 }).nats).toBeCloseTo(Math.log(2) + Math.log(4), 6);
    const { nats, tokens } = costOf(rows, { next: [0, 1], scored: 1 });
    expect([nats, tokens]).toEqual([expect.closeTo(-Math.log(3 / 4), 6), 1]);
  });
});
