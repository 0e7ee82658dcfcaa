import { readdirSync, readFileSync } from "node:fs";
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
  readonly spelled?: { readonly messages: ChatMessage[]; readonly ids: number[]; readonly text: string };
  readonly refused?: { readonly messages: ChatMessage[]; readonly message: string };
}

const folder = new URL("../golden/tokenizer/", import.meta.url);
const goldens = readdirSync(folder).map((name) => JSON.parse(readFileSync(new URL(name, folder), "utf8")) as Golden);

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

  it("keeps characters that could mark special tokens", () => {
    const text = "a\ufdd0<s><|im_end|>\ufdd1";
    const ids = tokenizer.encode(text, { addSpecialTokens: false });
    expect(tokenizer.decode(ids)).toBe(text);
  });
});

it("has no bytes for ids outside the vocabulary", () => {
  const tokenizer = tokenizerOf(goldens[0]!);
  expect([tokenizer.tokenBytes(-1), tokenizer.tokenBytes(10 ** 6)]).toEqual([new Uint8Array(), new Uint8Array()]);
});

describe("the built-in models' tokenizer", () => {
  const path = new URL("../golden/tokenizer-builtin.json", import.meta.url);
  const golden = JSON.parse(readFileSync(path, "utf8")) as { model: string; cases: Case[] };
  const tokenizer = createTokenizer(readTokenizerFiles(locateModel(golden.model).path));

  it.each(golden.cases)("encodes and decodes $text as Hugging Face tokenizers does", (example) => {
    expectCase(tokenizer, example);
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
