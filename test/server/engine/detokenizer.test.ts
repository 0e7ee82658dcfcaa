import { readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Detokenizer } from "../../../server/engine/detokenizer.ts";
import type { Tokenizer } from "../../../server/engine/types.ts";
import { createTokenizer } from "../../../server/tokenizer.ts";
import { TableTokenizer } from "../../support/table-tokenizer.ts";

const folder = new URL("../../golden/tokenizer/", import.meta.url);
const goldens = readdirSync(folder).map((file) => {
  const golden = JSON.parse(readFileSync(new URL(file, folder), "utf8"));
  return {
    name: golden.name as string,
    tokenizer: createTokenizer(golden),
    cases: golden.cases as { parsed: number[] }[],
    byteTokens: JSON.stringify(golden.tokenizerJson.decoder).includes("ByteFallback"),
  };
});

/** The pieces that the tokens after `promptLength` give, the flush last. */
function pieces(tokenizer: Tokenizer, ids: readonly number[], promptLength = 0, skipSpecialTokens = true): string[] {
  const detokenizer = new Detokenizer(tokenizer, { promptIds: ids.slice(0, promptLength), skipSpecialTokens });
  return [...ids.slice(promptLength).map((id) => detokenizer.push(id)), detokenizer.flush()];
}

const loneSurrogate = /\p{Surrogate}/u;

/** What of a prompt's text cannot change any more: all up to the first replacement character of a broken end. */
function settledText(tokenizer: Tokenizer, ids: readonly number[], skipSpecialTokens: boolean): string {
  const decode = (length: number) => tokenizer.decode(ids.slice(0, length), { skipSpecialTokens });
  const text = decode(ids.length);
  let length = ids.length;
  while (length > 0 && decode(length).endsWith("\ufffd")) length--;
  const base = decode(length);
  if (length === ids.length || !text.startsWith(base)) return base;
  return text.slice(0, text.indexOf("\ufffd", base.length));
}

/** The prompt's settled text and the pieces are the text of all; no piece ends inside a character. */
function expectWhole(tokenizer: Tokenizer, ids: readonly number[], promptLength = 0, skipSpecialTokens = true): void {
  const whole = tokenizer.decode(ids, { skipSpecialTokens });
  const prompt = ids.slice(0, promptLength);
  const got = pieces(tokenizer, ids, promptLength, skipSpecialTokens);
  for (const piece of got) expect(piece).not.toMatch(loneSurrogate);
  const text = got.join("");
  expect(whole.slice(whole.length - text.length)).toBe(text);
  const rest = whole.slice(0, whole.length - text.length);
  const settled = settledText(tokenizer, prompt, skipSpecialTokens);
  if (rest === settled) return;
  // Replacement characters far back in a prompt are settled too.
  expect(rest.startsWith(settled) && tokenizer.decode(prompt, { skipSpecialTokens }).startsWith(rest)).toBe(true);
}

const unicode = fc.string({
  unit: fc.constantFrom(..."ab 1\n.é中文字ñ🙂👩‍👩‍👧🇩🇪\ufffd\ufeff\u0301", "  ", " the", "<s>", "</s>", "<|im_end|>"),
  maxLength: 30,
});

describe.each(goldens)("with the tokenizer $name", ({ tokenizer, cases, byteTokens }) => {
  test("pieces of known texts make up the whole, after any prompt", () => {
    for (const { parsed } of cases) {
      for (let promptLength = 0; promptLength <= parsed.length; promptLength++) {
        expectWhole(tokenizer, parsed, promptLength, promptLength % 4 > 0);
      }
    }
  });

  test("pieces of random texts make up the whole", () => {
    fc.assert(
      fc.property(unicode, fc.nat(), fc.boolean(), (text, cut, skip) => {
        const ids = tokenizer.encode(text, { parseSpecial: true });
        expectWhole(tokenizer, ids, cut % (ids.length + 1), skip);
      }),
      { seed: 9, numRuns: 300 },
    );
  });

  test("pieces of random tokens make up the whole, unknown ids and broken UTF-8 included", () => {
    // Runs of byte tokens with a broken character are the documented exception; see the next test.
    const broken = (id: number) => byteTokens && tokenizer.decode([id]).includes("\ufffd");
    const ids = Array.from({ length: tokenizer.vocabSize + 2 }, (_, id) => id).filter((id) => !broken(id));
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...ids), { maxLength: 60 }), fc.nat(), (chosen, cut) => {
        expectWhole(tokenizer, chosen, cut % (chosen.length + 1));
      }),
      { seed: 10, numRuns: 300 },
    );
  });
});

test.each(goldens.filter(({ byteTokens }) => byteTokens))(
  "a broken run of byte tokens costs no character outside it: $name",
  ({ tokenizer }) => {
    const idOf = (text: string) => tokenizer.encode(text, { addSpecialTokens: false }).at(-1)!;
    const byte = (value: number) => idOf("\u0001") - 1 + value; // <0x00> to <0xFF> follow one another
    const run = [0xe6, 0x97, 0xa5, 0xff, 0xf0, 0x9f].map(byte);
    expect(tokenizer.decode(run)).toBe("\ufffd".repeat(6));
    const got = pieces(tokenizer, [idOf("a"), ...run, idOf("b")]).join("");
    expect(got).toBe(`a日${"\ufffd".repeat(5)} b`);
  },
);

describe("with any cut of the bytes", () => {
  const cutText = fc.tuple(unicode, fc.infiniteStream(fc.integer({ min: 1, max: 5 }))).map(([text, lengths]) => {
    const bytes = new TextEncoder().encode(text);
    const cuts: Uint8Array[] = [];
    for (let at = 0; at < bytes.length; at += cuts.at(-1)!.length) {
      cuts.push(bytes.subarray(at, at + lengths.next().value!));
    }
    return { text, cuts };
  });

  test("pieces make up the text, and each is there as soon as its characters are whole", () => {
    fc.assert(
      fc.property(cutText, ({ text, cuts }) => {
        const tokenizer = new TableTokenizer(cuts);
        const ids = [...cuts.keys()];
        expect(pieces(tokenizer, ids).join("")).toBe(text);
        if (text.includes("\ufffd")) return; // a written replacement character is held back for a while
        const detokenizer = new Detokenizer(tokenizer);
        let out = "";
        for (const id of ids) {
          out += detokenizer.push(id);
          const bytes = Buffer.concat(cuts.slice(0, id + 1));
          expect(out).toBe(new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes, { stream: true }));
        }
      }),
      { seed: 11, numRuns: 2000 },
    );
  });

  test("random bytes come out as decoding them at once", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ min: 0x70, minLength: 1, maxLength: 3 }), { maxLength: 100 }), (cuts) => {
        const tokenizer = new TableTokenizer(cuts);
        expectWhole(tokenizer, [...cuts.keys()]);
      }),
      { seed: 12, numRuns: 1000 },
    );
  });
});

describe("Detokenizer", () => {
  test("flushes an unfinished character", () => {
    const tokenizer = new TableTokenizer(["a", Uint8Array.of(0xf0, 0x9f)]);
    expect(pieces(tokenizer, [0, 1])).toEqual(["a", "", "\ufffd"]);
  });

  test("skips special tokens, also inside a character", () => {
    const tokens = [Uint8Array.of(0xf0, 0x9f), Uint8Array.of(0x99, 0x82), "<|end|>", "!"];
    const tokenizer = new TableTokenizer(tokens, { special: [2] });
    expect(pieces(tokenizer, [0, 2, 1, 2, 3])).toEqual(["", "", "🙂", "", "!", ""]);
    expect(pieces(tokenizer, [3, 2, 3], 0, false)).toEqual(["!", "<|end|>", "!", ""]);
  });

  test("decodes a bounded number of tokens each time", () => {
    const table = new TableTokenizer(["a", Uint8Array.of(0x80), Uint8Array.of(0xf0, 0x9f), "\ufffd"]);
    let longest = 0;
    let total = 0;
    const counting: Tokenizer = Object.create(table, {
      decode: {
        value: (ids: number[], options: object) => {
          longest = Math.max(longest, ids.length);
          total += ids.length;
          return table.decode(ids, options);
        },
      },
    });
    for (const tokens of [[0], [1], [2], [3], [0, 1, 2, 3]]) {
      const ids = Array.from({ length: 2000 }, (_, i) => tokens[i % tokens.length]!);
      longest = 0;
      total = 0;
      expect(pieces(counting, ids).join("")).toBe(table.decode(ids));
      expect(longest).toBeLessThanOrEqual(33);
      expect(total).toBeLessThan(2000 * 30);
    }
  });
});
