import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Drafter } from "../../../server/engine/drafts.ts";

/** The definition, by search: for each length from the longest, the latest earlier occurrence of the last tokens. */
function search(text: readonly number[], most: number) {
  for (let size = 4; size >= 2 && most > 0; size--) {
    const last = text.slice(-size);
    if (last.length < size) continue;
    for (let start = text.length - size - 1; start >= 0; start--) {
      if (!last.every((token, i) => text[start + i] === token)) continue;
      const whole = [...text];
      while (whole.length < text.length + most) whole.push(whole[start + size + whole.length - text.length]!);
      return { tokens: whole.slice(text.length), match: size };
    }
  }
  return { tokens: [], match: 0 };
}

describe("drafts", () => {
  test("are what followed the longest run of last tokens", () => {
    // 3 4 came last before 8, but 2 3 4 is longer and was followed by 5.
    expect(new Drafter([1, 2, 3, 4, 5, 6, 3, 4, 8, 9, 2, 3, 4]).propose(2)).toEqual({ tokens: [5, 6], match: 3 });
  });

  test("come from its latest occurrence", () => {
    expect(new Drafter([1, 2, 5, 1, 2, 6, 1, 2]).propose(1)).toEqual({ tokens: [6], match: 2 });
  });

  test("continue a loop beyond the text's end", () => {
    expect(new Drafter([9, 1, 2, 1, 2]).propose(5)).toEqual({ tokens: [1, 2, 1, 2, 1], match: 2 });
    expect(new Drafter([7, 7, 7]).propose(4).tokens).toEqual([7, 7, 7, 7]);
  });

  test("are none where nothing recurs, in short texts, and when none are wanted", () => {
    for (const text of [[], [1], [1, 1], [1, 2, 1], [1, 2, 3, 4, 5]])
      expect(new Drafter(text).propose(3).tokens).toEqual([]);
    expect(new Drafter([1, 2, 1, 2]).propose(0)).toEqual({ tokens: [], match: 0 });
  });

  test("equal a search of the whole text, as it grows by pieces", () => {
    // Few different tokens recur often; many and large ones test that equal hashes are not taken for equal runs.
    const token = fc.oneof(fc.nat(2), fc.nat(5), fc.integer({ min: 0, max: 2 ** 31 - 1 }));
    const pieces = fc.array(fc.tuple(fc.array(token, { maxLength: 40 }), fc.nat(9)), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(pieces, (parts) => {
        const text: number[] = [];
        const drafter = new Drafter(text);
        for (const [piece, most] of parts) {
          text.push(...piece);
          expect(drafter.propose(most)).toEqual(search(text, most));
        }
      }),
    );
  });

  test("find a run among many that share a slot of the table", () => {
    const text = Array.from({ length: 20_000 }, (_, i) => (i * 7919) % 65_536);
    text.push(...text.slice(123, 127));
    expect(new Drafter(text).propose(3)).toEqual({ tokens: text.slice(127, 130), match: 4 });
  });
});
