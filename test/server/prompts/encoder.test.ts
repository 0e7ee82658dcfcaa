import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { locateModel } from "../../../models/registry.ts";
import { readTokenizerFiles } from "../../../models/tokenizer-files.ts";
import type { TokenizerFiles } from "../../../models/types.ts";
import type { Tokenizer } from "../../../server/engine/types.ts";
import { localEncoder, type PromptEncoder, threadedEncoder } from "../../../server/prompts/encoder.ts";
import { createTokenizer } from "../../../server/tokenizer.ts";
import { testTokenizerFiles } from "../../support/serving.ts";

const ids = { eosTokenIds: [] };
const models: [string, TokenizerFiles][] = [
  ["a tokenizer of bytes", testTokenizerFiles],
  ["tiny-llama's", readTokenizerFiles(locateModel("tiny-llama").path)],
];

/** What text may hold that is tokenised in a way of its own. */
const piece = fc.oneof(
  fc.constantFrom(
    "<|im_start|>",
    "<|im_end|>",
    "<s>",
    "</s>",
    "🦊",
    "👩‍👩‍👧",
    "東京都",
    "\ud83d",
    "\ufdd0",
    "  \n\t",
    "\u0000",
    "▁",
  ),
  fc.string({ unit: "grapheme" }),
  fc.lorem(),
);
/** Longer than what stays in this thread. */
const longText = fc.array(piece, { minLength: 1, maxLength: 30 }).map((pieces) => {
  const text = pieces.join("");
  return `${text} `.repeat(Math.ceil(5000 / (text.length + 1)));
});

describe.each(models)("%s ids from a thread", (_, files) => {
  const tokenizer: Tokenizer = createTokenizer(files, ids);
  const threaded: PromptEncoder = threadedEncoder(tokenizer, files, ids);
  afterAll(() => threaded.close());

  it("are those of this thread", async () => {
    const options = fc.record({ addSpecialTokens: fc.boolean(), parseSpecial: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(fc.array(longText, { minLength: 1, maxLength: 3 }), options, async (texts, options) => {
        const expected = texts.map((text) => tokenizer.encode(text, options));
        expect(await threaded.encode(texts, options)).toEqual(expected);
        // So that a fault of both is none of this test: they are the text.
        expect(tokenizer.decode(tokenizer.encode(texts[0]!, { addSpecialTokens: false })).length).toBeGreaterThan(1000);
      }),
      { numRuns: 15 },
    );
  });

  it("are those of this thread for a megabyte, and the event loop turns meanwhile", async () => {
    const text = "Größe 東京 🦊 <|im_end|>, said the Queen.\n".repeat(24_000);
    let encoded: number[] | undefined;
    const encoding = threaded.encode([text]).then((result) => {
      encoded = result[0];
    });
    let turns = 0;
    for (; encoded === undefined; turns++) await Promise.race([encoding, new Promise(setImmediate)]);
    expect(turns).toBeGreaterThan(2);
    // Compared as bytes: the matcher would take as long as all the rest.
    const bytesOf = (tokens: readonly number[]) => Buffer.from(Int32Array.from(tokens).buffer);
    expect(bytesOf(encoded!).equals(bytesOf(tokenizer.encode(text)))).toBe(true);
  });
});

describe("conversations", () => {
  const tokenizer = createTokenizer(testTokenizerFiles, ids);
  const threaded = threadedEncoder(tokenizer, testTokenizerFiles, ids);
  afterAll(() => threaded.close());
  const conversation = (text: string) => [
    { role: "user", content: text },
    { role: "assistant", content: "Why? <|im_end|>" },
    { role: "user", content: text },
  ];

  it("have the same ids from a thread", async () => {
    const messages = conversation("Be quiet! <|im_start|>system\n".repeat(300));
    for (const addGenerationPrompt of [true, false]) {
      const options = { addGenerationPrompt };
      expect(await threaded.applyChatTemplate(messages, options)).toEqual(
        tokenizer.applyChatTemplate(messages, options),
      );
    }
  });

  it("that are far too long are refused in both threads in the same words", async () => {
    const messages = conversation("Off with his head! ".repeat(5000));
    const options = { addGenerationPrompt: true, contextLength: 100 };
    const refusals = await Promise.all(
      [threaded, localEncoder(tokenizer)].flatMap((encoder) => [
        encoder.applyChatTemplate(messages, options).catch((error) => error),
        encoder.encode([messages[0]!.content], { contextLength: 100 }).catch((error) => error),
      ]),
    );
    for (const refusal of refusals) {
      expect(refusal).toMatchObject({ name: "EngineError", code: "context_overflow" });
      expect(refusal.message).toMatch(/^the prompt has more than \d+ tokens; the context is 100 tokens$/);
    }
    expect(refusals[0].message).toBe(refusals[2].message);
  });

  it("that the template refuses are refused in its own words", async () => {
    const chatTemplate = "{{ raise_exception('roles must alternate') }}";
    const files = { ...testTokenizerFiles, chatTemplate };
    const refusing = threadedEncoder(createTokenizer(files, ids), files, ids);
    const refusal = refusing.applyChatTemplate(conversation("x".repeat(5000)), { addGenerationPrompt: true });
    await expect(refusal).rejects.toMatchObject({ name: "ChatTemplateError", message: "roles must alternate" });
    await refusing.close();
  });
});
