import { readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { TextOffsets, TokenTexts } from "../../server/token-texts.ts";
import { createTokenizer } from "../../server/tokenizer.ts";
import { TableTokenizer } from "../support/table-tokenizer.ts";

const folder = new URL("../golden/tokenizer/", import.meta.url);
const tokenizers = readdirSync(folder).map((file) => {
  const { name, tokenizerJson, tokenizerConfig } = JSON.parse(readFileSync(new URL(file, folder), "utf8"));
  return { name: name as string, tokenizer: createTokenizer({ tokenizerJson, tokenizerConfig }) };
});

const text = fc
  .array(
    fc.constantFrom(
      "a",
      "The ",
      " fox",
      " ",
      "  ",
      "é",
      "日本",
      "\u{1f469}\u200d\u{1f467}",
      "\n",
      "!",
      "<s>",
      "\ufeff",
    ),
  )
  .map((parts) => parts.join(""));

describe.each(tokenizers)("where the tokens of $name begin", ({ tokenizer }) => {
  it("is as many characters in as there are before", () => {
    fc.assert(
      fc.property(text, fc.boolean(), (text, skipSpecialTokens) => {
        const ids = tokenizer.encode(text);
        const offsets = new TextOffsets(tokenizer, { atStart: true });
        let last = 0;
        for (const [i, id] of ids.entries()) {
          const before = tokenizer.decode(ids.slice(0, i), { skipSpecialTokens });
          const offset = offsets.next(id, { skipSpecialTokens });
          // Inside a character the decoders differ in what they make of its first bytes.
          if (before.includes("\ufffd")) expect(offset).toBeGreaterThanOrEqual(last);
          else expect(offset).toBe(Array.from(before).length);
          last = offset;
        }
      }),
      { seed: 31, numRuns: 200 },
    );
  });
});

describe("a text's tokens", () => {
  const half = Uint8Array.of(0xf0, 0x9f);
  const rest = Uint8Array.of(0x99, 0x82);
  const tokenizer = new TableTokenizer(["a", half, rest, "<end>"], { eos: [3] });

  it("are spelled, and parts of characters written as bytes", () => {
    const texts = TokenTexts.of(tokenizer);
    expect(TokenTexts.of(tokenizer)).toBe(texts);
    expect([0, 1, 3].map((id) => texts.text(id))).toEqual(["a", "\\xf0\\x9f", "<end>"]);
    expect([0, 1, 3].map((id) => texts.markedText(id))).toEqual(["a", "bytes:\\xf0\\x9f", "<end>"]);
    expect([0, 3].map((id) => texts.isSpecial(id))).toEqual([false, true]);
    expect(texts.bytes(2)).toEqual(rest);
  });

  it("inside a character begin where it does", () => {
    const offsets = new TextOffsets(tokenizer, { atStart: false });
    const starts = [0, 1, 2, 3, 0].map((id) => offsets.next(id, { skipSpecialTokens: true }));
    expect(starts).toEqual([0, 1, 1, 2, 2]);
    expect(offsets.next(3, { skipSpecialTokens: false })).toBe(3);
    expect(offsets.next(0, { skipSpecialTokens: false })).toBe(8);
  });
});
