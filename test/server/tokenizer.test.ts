import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { describe, expect, it } from "vitest";
import { locateModel } from "../../models/registry.ts";
import { readTokenizerFiles } from "../../models/tokenizer-files.ts";
import type { ChatMessage, Tokenizer } from "../../server/engine/types.ts";
import { ChatTemplateError, createTokenizer } from "../../server/tokenizer.ts";

interface Case {
  readonly text: string;
  /** Special tokens as text: with what the post-processor adds, and without. */
  readonly plain: number[];
  readonly bare: number[];
  /** Special tokens parsed, nothing added. */
  readonly parsed: number[];
  readonly decoded: string;
  readonly skipped: string;
  /** What the first 1, 2, ... of `parsed` decode to. */
  readonly prefixes: readonly string[];
}

/** What a text of a megabyte gives, as SHA-256 of the ids with commas between and of the decoded text. */
interface LongCase {
  readonly bytes: number;
  readonly tokens: number;
  readonly ids: string;
  readonly decoded: string;
}

/** Written by test/oracle/tokenizer_goldens.py. */
interface Golden {
  readonly name: string;
  readonly tokenizerJson: Record<string, unknown>;
  readonly tokenizerConfig: Record<string, unknown> & { readonly chat_template: string };
  readonly cases: readonly Case[];
  readonly chats: readonly {
    readonly messages: ChatMessage[];
    readonly addGenerationPrompt: boolean;
    readonly ids: number[];
    readonly text: string;
  }[];
  readonly long: LongCase;
  readonly spelled?: { readonly messages: ChatMessage[]; readonly ids: number[]; readonly text: string };
  readonly refused?: { readonly messages: ChatMessage[]; readonly message: string };
}

const folder = new URL("../golden/tokenizer/", import.meta.url);
/** SPARQ_TEST_TOKENIZERS names a folder with goldens of whole tokenizers, which are too large to commit (--full). */
const whole = process.env.SPARQ_TEST_TOKENIZERS && pathToFileURL(`${process.env.SPARQ_TEST_TOKENIZERS}/`);
const goldens = [folder, ...(whole ? [whole] : [])].flatMap((from) => {
  return readdirSync(from).map((name) => JSON.parse(readFileSync(new URL(name, from), "utf8")) as Golden);
});
const long = JSON.parse(readFileSync(new URL("../golden/tokenizer-long.json", import.meta.url), "utf8")) as {
  readonly pieces: readonly string[];
  readonly count: number;
};

/** The megabyte that the oracle made, by the same generator. */
function longText(): string {
  let state = 1;
  return Array.from({ length: long.count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return long.pieces[(state >>> 16) % long.pieces.length];
  }).join("");
}

function expectLong(tokenizer: Tokenizer, { bytes, tokens, ids, decoded }: LongCase): void {
  const text = longText();
  expect(Buffer.byteLength(text)).toBe(bytes);
  expect(bytes).toBeGreaterThan(1 << 20);
  const sum = (value: string) => createHash("sha256").update(value).digest("hex");
  const got = tokenizer.encode(text, { addSpecialTokens: false });
  expect(got.length).toBe(tokens);
  expect(sum(got.join(","))).toBe(ids);
  expect(sum(tokenizer.decode(got))).toBe(decoded);
}

function tokenizerOf(golden: Golden) {
  const { tokenizerJson, tokenizerConfig } = golden;
  return createTokenizer({ tokenizerJson, tokenizerConfig, chatTemplate: tokenizerConfig.chat_template });
}

function expectCase(tokenizer: Tokenizer, { text, plain, bare, parsed, decoded, skipped, prefixes }: Case) {
  expect(tokenizer.encode(text)).toEqual(plain);
  expect(tokenizer.encode(text, { addSpecialTokens: false })).toEqual(bare);
  expect(tokenizer.encode(text, { addSpecialTokens: false, parseSpecial: true })).toEqual(parsed);
  expect(tokenizer.decode(parsed)).toBe(decoded);
  expect(tokenizer.decode(parsed, { skipSpecialTokens: true })).toBe(skipped);
  expect(prefixes.map((_, i) => tokenizer.decode(parsed.slice(0, i + 1)))).toEqual(prefixes);
  if (decoded.includes("\ufffd")) return;
  // SentencePiece's decoders drop the space that a text begins with; its first token still has it.
  const bytes = Buffer.concat(parsed.map((id) => tokenizer.tokenBytes(id)));
  expect([decoded, ` ${decoded}`]).toContain(bytes.toString("utf8"));
}

describe.each(goldens)("$name", (golden) => {
  const tokenizer = tokenizerOf(golden);

  it.each(golden.cases)("encodes and decodes $text as Hugging Face tokenizers does", (example) => {
    expectCase(tokenizer, example);
  });

  it.each(golden.chats)("renders chats as transformers does ($addGenerationPrompt, $text)", (chat) => {
    const { messages, addGenerationPrompt, ids } = chat;
    expect(tokenizer.applyChatTemplate(messages, { addGenerationPrompt })).toEqual(ids);
  });

  it("encodes and decodes a megabyte as Hugging Face tokenizers does", () => {
    expectLong(tokenizer, golden.long);
  });

  it("keeps characters that could mark special tokens", () => {
    const text = "a\ufdd0<s><|im_end|>\ufdd1";
    const ids = tokenizer.encode(text, { addSpecialTokens: false });
    expect(tokenizer.decode(ids)).toBe(text);
  });
});

it.each([
  [true, "7½½", 3],
  [false, "7½½", 1],
])("cuts out what Unicode calls numeric (one by one: %s)", (individually, text, count) => {
  const { tokenizerJson, tokenizerConfig } = goldens.find(({ name }) => name === "byte-level")!;
  const model = tokenizerJson.model as { vocab: Record<string, number>; merges: string[][] };
  const made = ["Â½", "Â½Â½", "7Â½Â½"];
  const vocab = { ...model.vocab, ...Object.fromEntries(made.map((token, i) => [token, 10_000 + i])) };
  const merges = [["Â", "½"], ["Â½", "Â½"], ["7", "Â½Â½"], ...model.merges];
  const digits = { type: "Digits", individual_digits: individually };
  const level = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };
  const cut = { type: "Sequence", pretokenizers: [digits, level] };
  const changed = { ...tokenizerJson, pre_tokenizer: cut, model: { ...model, vocab, merges } };
  expect(createTokenizer({ tokenizerJson: changed, tokenizerConfig }).encode(text)).toHaveLength(count);
});

it("has no bytes for ids outside the vocabulary", () => {
  const tokenizer = tokenizerOf(goldens[0]!);
  expect([tokenizer.tokenBytes(-1), tokenizer.tokenBytes(10 ** 6)]).toEqual([new Uint8Array(), new Uint8Array()]);
});

describe("the built-in models' tokenizer", () => {
  const path = new URL("../golden/tokenizer-builtin.json", import.meta.url);
  const golden = JSON.parse(readFileSync(path, "utf8")) as {
    model: string;
    cases: Case[];
    long: LongCase;
  };
  const tokenizer = createTokenizer(readTokenizerFiles(locateModel(golden.model).path));

  it.each(golden.cases)("encodes and decodes $text as Hugging Face tokenizers does", (example) => {
    expectCase(tokenizer, example);
  });

  it("encodes and decodes a megabyte as Hugging Face tokenizers does", () => {
    expectLong(tokenizer, golden.long);
  });
});

describe.each(goldens.filter(({ spelled }) => spelled))("a message to $name", (golden) => {
  it("keeps the special tokens that it spells as text", () => {
    const tokenizer = tokenizerOf(golden);
    const { messages, ids: expected, text } = golden.spelled!;
    const ids = tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true });
    expect(ids).toEqual(expected);
    expect(tokenizer.decode(ids)).toBe(text);
  });
});

describe.each(goldens.filter(({ refused }) => refused))("the template of $name", (golden) => {
  it("refuses in its own words", () => {
    const { messages, message } = golden.refused!;
    const refusal = () => tokenizerOf(golden).applyChatTemplate(messages, { addGenerationPrompt: true });
    expect(refusal).toThrow(new ChatTemplateError(message));
  });
});
