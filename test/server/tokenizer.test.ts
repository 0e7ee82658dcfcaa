import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { ChatMessage } from "../../server/engine/types.ts";
import { ChatTemplateError, createTokenizer } from "../../server/tokenizer.ts";

/** Written by test/oracle/tokenizer_goldens.py. */
interface Golden {
  readonly name: string;
  readonly tokenizerJson: Record<string, unknown>;
  readonly tokenizerConfig: Record<string, unknown> & { readonly chat_template: string };
  readonly cases: readonly {
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
  }[];
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

describe.each(goldens)("$name", (golden) => {
  const tokenizer = tokenizerOf(golden);

  it.each(golden.cases)("encodes and decodes $text as Hugging Face tokenizers does", (example) => {
    const { text, plain, bare, parsed, decoded, skipped, prefixes } = example;
    expect(tokenizer.encode(text)).toEqual(plain);
    expect(tokenizer.encode(text, { addSpecialTokens: false })).toEqual(bare);
    expect(tokenizer.encode(text, { addSpecialTokens: false, parseSpecial: true })).toEqual(parsed);
    expect(tokenizer.decode(parsed)).toBe(decoded);
    expect(tokenizer.decode(parsed, { skipSpecialTokens: true })).toBe(skipped);
    expect(prefixes.map((_, i) => tokenizer.decode(parsed.slice(0, i + 1)))).toEqual(prefixes);
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

  it("keeps special tokens that a message spells as text", () => {
    if (golden.spelled === undefined) {
      expect(golden.refused).toBeDefined();
      return;
    }
    const ids = tokenizer.applyChatTemplate(golden.spelled.messages, { addGenerationPrompt: true });
    expect(ids).toEqual(golden.spelled.ids);
    expect(tokenizer.decode(ids)).toBe(golden.spelled.text);
  });

  it("passes on the message of a template that refuses", () => {
    if (golden.refused === undefined) {
      expect(golden.spelled).toBeDefined();
      return;
    }
    const { messages, message } = golden.refused;
    const refusal = () => tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true });
    expect(refusal).toThrow(new ChatTemplateError(message));
  });
});
