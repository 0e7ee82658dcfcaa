import { describe, expect, it } from "vitest";
import { Fields } from "../../../models/fields.ts";
import { preTokenizers } from "../../../models/gguf/pre-tokenizers.ts";
import type { GgufFile } from "../../../models/gguf/reader.ts";
import { mergesByScore } from "../../../models/gguf/sentencepiece.ts";
import { ggufTokenizer } from "../../../models/gguf/tokenizer.ts";
import { createTokenizer } from "../../../server/tokenizer.ts";
import { readGoldenJson } from "../../support/golden.ts";

interface Lists {
  readonly tokens: readonly string[];
  readonly kinds: readonly number[];
}

const golden = readGoldenJson<{
  readonly texts: readonly string[];
  readonly sentencepiece: Lists & { readonly scores: readonly number[]; readonly ids: readonly (readonly number[])[] };
  readonly bytes: Lists & {
    readonly merges: readonly string[];
    readonly ids: Readonly<Record<string, readonly (readonly number[])[]>>;
  };
}>("gguf", "tokenizers.json");

const fileOf = (metadata: Record<string, unknown>) => ({ metadata: new Fields(metadata, "a.gguf") }) as GgufFile;
const filesOf = (metadata: Record<string, unknown>) => ggufTokenizer(fileOf(metadata));
const tokenizerOf = (metadata: Record<string, unknown>) => createTokenizer(filesOf(metadata));

const pieces = {
  "tokenizer.ggml.model": "llama",
  "tokenizer.ggml.tokens": golden.sentencepiece.tokens,
  "tokenizer.ggml.token_type": golden.sentencepiece.kinds,
  "tokenizer.ggml.scores": golden.sentencepiece.scores,
  "tokenizer.ggml.unknown_token_id": 0,
  "tokenizer.ggml.bos_token_id": 1,
  "tokenizer.ggml.eos_token_id": 2,
};
const bytes = (pre: string) => ({
  "tokenizer.ggml.model": "gpt2",
  "tokenizer.ggml.pre": pre,
  "tokenizer.ggml.tokens": golden.bytes.tokens,
  "tokenizer.ggml.token_type": golden.bytes.kinds,
  "tokenizer.ggml.merges": golden.bytes.merges,
  "tokenizer.ggml.bos_token_id": 0,
  "tokenizer.ggml.eos_token_id": 1,
});
const bare = { addSpecialTokens: false };

describe("scores, as SentencePiece itself merges by them", () => {
  const tokenizer = tokenizerOf(pieces);

  it.each(golden.texts.map((text, i) => [text, i] as const))("%j", (text, i) => {
    const ids = golden.sentencepiece.ids[i]!;
    expect(tokenizer.encode(text, bare)).toEqual(ids);
    expect(tokenizer.encode(text)).toEqual([1, ...ids]);
    expect(tokenizer.decode(ids)).toBe(text.replaceAll("\u2581", " "));
  });

  it("take a megabyte", () => {
    const text = golden.texts.join("").repeat(1400);
    const ids = tokenizer.encode(text, bare);
    expect(text.length).toBeGreaterThan(1e6);
    expect(tokenizer.decode(ids)).toBe(text.replaceAll("\u2581", " "));
  }, 600_000);

  it("never make a control token or a byte of text", () => {
    const tokens = ["<unk>", "<s>", "<0x41>", "<", "s>", "<0x4", "1>", "\u2581", "s", "1"];
    const vocabulary = { tokens, kinds: [2, 3, 6, 1, 1, 1, 1, 1, 1, 1], ids: new Map(tokens.map((t, i) => [t, i])) };
    expect(mergesByScore(vocabulary, new Array(10).fill(-1))).toEqual([]);
  });

  it("rank tokens, and ways to make one token by their parts' ids; characters of two units stay whole", () => {
    const tokens = ["a", "b", "ab", "ba", "aba", "\u{1f600}", "a\u{1f600}"];
    const vocabulary = { tokens, kinds: new Array(7).fill(1), ids: new Map(tokens.map((t, i) => [t, i])) };
    expect(mergesByScore(vocabulary, [0, 0, -3, -2, -1, 0, -2])).toEqual([
      ["a", "ba"],
      ["ab", "a"],
      ["b", "a"],
      ["a", "\u{1f600}"],
      ["a", "b"],
    ]);
  });

  it("are what tells the merges of a Hugging Face tokenizer.json of such a model, in their order", () => {
    const { tokenizerJson } = readGoldenJson<{ tokenizerJson: HuggingFaceJson }>("tokenizer", "sentencepiece.json");
    const { vocab, merges } = tokenizerJson.model;
    const tokens = Object.keys(vocab).sort((a, b) => vocab[a]! - vocab[b]!);
    const kinds = tokens.map((token, id) => (id < 3 ? 3 : /^<0x..>$/.test(token) ? 6 : 1));
    const ids = new Map(tokens.map((token, id) => [token, id]));
    const made = mergesByScore(
      { tokens, kinds, ids },
      tokens.map((_, id) => -id),
    ).map((pair) => pair.join(" "));
    const kept = merges.map((merge) => (Array.isArray(merge) ? merge.join(" ") : merge));
    // The file was cut after its 400th merge, but not all tokens that later ones make.
    expect(made.filter((merge) => kept.includes(merge))).toEqual(kept);
  });
});

interface HuggingFaceJson {
  readonly model: {
    readonly vocab: Readonly<Record<string, number>>;
    readonly merges: readonly (string | readonly string[])[];
  };
}

describe("byte-level pre-tokenizers, as Hugging Face tokenizers cuts by the models' own files", () => {
  const texts = [...golden.texts, "in a Metro"];

  it.each(Object.keys(golden.bytes.ids))("%s", (pre) => {
    const tokenizer = tokenizerOf(bytes(pre));
    const ids = texts.map((text) => tokenizer.encode(text, bare));
    expect(ids).toEqual(golden.bytes.ids[pre]);
    const composes = preTokenizers[pre]!.composes;
    expect(ids.map((of) => tokenizer.decode(of))).toEqual(composes ? texts.map((t) => t.normalize("NFC")) : texts);
  });

  it("have a golden each, or are another's under a second name", () => {
    const checked = Object.keys(golden.bytes.ids).map((pre) => JSON.stringify(preTokenizers[pre]));
    for (const pre of Object.values(preTokenizers)) expect(checked).toContain(JSON.stringify(pre));
  });
});

describe("what begins and ends a text", () => {
  const ids = golden.sentencepiece.ids[golden.texts.indexOf("Hello, world!")]!;
  const encoded = (changes: Record<string, unknown>) => tokenizerOf({ ...pieces, ...changes }).encode("Hello, world!");

  it("is what the file says", () => {
    expect(encoded({ "tokenizer.ggml.add_bos_token": false })).toEqual(ids);
    expect(encoded({ "tokenizer.ggml.add_eos_token": true })).toEqual([1, ...ids, 2]);
    expect(encoded({ "tokenizer.ggml.add_bos_token": false, "tokenizer.ggml.add_eos_token": true })).toEqual([
      ...ids,
      2,
    ]);
  });

  it("is BOS where nothing is said, for SentencePiece, Llama 3 and Tekken that have one", () => {
    expect(encoded({ "tokenizer.ggml.bos_token_id": undefined })).toEqual(ids);
    const begins = (pre: string) => tokenizerOf(bytes(pre)).encode("a")[0] === 0;
    expect(Object.keys(golden.bytes.ids).filter(begins)).toEqual(["llama-bpe", "tekken"]);
  });

  it("is no space with add_space_prefix false, neither when text is made", () => {
    const tokenizer = tokenizerOf({ ...pieces, "tokenizer.ggml.add_space_prefix": false });
    const [prefixed, plain] = [tokenizerOf(pieces).encode("the", bare), tokenizer.encode("the", bare)];
    expect(plain).not.toEqual(prefixed);
    expect(tokenizer.encode(" the", bare)).toEqual(prefixed);
    expect(tokenizer.decode(prefixed)).toBe(" the");
    expect(tokenizer.decode(plain)).toBe("the");
  });
});

describe("added tokens", () => {
  it("are cut out of templates, and control tokens stay text in what users say", () => {
    const kinds = [...golden.sentencepiece.kinds, 4, 3];
    const tokens = [...golden.sentencepiece.tokens, "  \n", "<|turn|>"];
    const scores = [...golden.sentencepiece.scores, 0, 0];
    const tokenizer = tokenizerOf({
      ...pieces,
      "tokenizer.ggml.tokens": tokens,
      "tokenizer.ggml.token_type": kinds,
      "tokenizer.ggml.scores": scores,
    });
    const [own, turn] = [tokens.length - 2, tokens.length - 1];
    expect(tokenizer.encode("a  \nb<|turn|>c", { ...bare, parseSpecial: true })).toEqual([
      ...tokenizer.encode("a", bare),
      own,
      ...tokenizer.encode("b", bare),
      turn,
      ...tokenizer.encode("c", bare),
    ]);
    const plain = tokenizer.encode("<|turn|><s>", bare);
    expect(plain).not.toContain(turn);
    expect(plain).not.toContain(1);
    expect(tokenizer.decode(plain)).toBe("<|turn|><s>");
  });
});

describe("the file's chat template", () => {
  const template =
    "{{ bos_token }}{% for m in messages %}{{ m.role + ': ' + m.content + eos_token }}{% endfor %}" +
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}";
  const chat = (chatTemplate: unknown) =>
    tokenizerOf({ ...pieces, "tokenizer.chat_template": chatTemplate }).applyChatTemplate(
      [{ role: "user", content: "Hello</s>" }],
      { addGenerationPrompt: true },
    );

  it("says what is around messages, with the file's own tokens", () => {
    const tokenizer = tokenizerOf(pieces);
    expect(chat(template)).toEqual([
      1,
      ...tokenizer.encode("user: Hello</s>", bare),
      2,
      ...tokenizer.encode("assistant:", bare),
    ]);
  });

  it("is missed where there is none, and refused where it is no text", () => {
    expect(() => chat(undefined)).toThrow("the model has no chat template");
    expect(() => chat(7)).toThrow("a.gguf: tokenizer.chat_template is 7; it must be a text");
  });
});

describe("what is refused", () => {
  const many = (lists: Record<string, unknown>) => ({ ...bytes("gpt-2"), ...lists });
  it.each([
    [{ ...pieces, "tokenizer.ggml.model": "t5" }, 'tokenizer.ggml.model is "t5"; supported: gpt2, llama'],
    [bytes("kimi-k2"), 'tokenizer.ggml.pre is "kimi-k2"; supported: gpt-2, '],
    [bytes("constructor"), 'tokenizer.ggml.pre is "constructor"; supported'],
    [{ ...pieces, "tokenizer.ggml.scores": undefined }, "tokenizer.ggml.scores is undefined; a list of numbers"],
    [{ ...pieces, "tokenizer.ggml.scores": [1, 2] }, "2 tokenizer.ggml.scores for 900 tokenizer.ggml.tokens"],
    [{ ...pieces, "tokenizer.ggml.scores": [Number.NaN] }, "tokenizer.ggml.scores is a list of something else"],
    [{ ...pieces, "tokenizer.ggml.remove_extra_whitespaces": true }, "remove_extra_whitespaces is true"],
    [{ ...pieces, "tokenizer.ggml.add_space_prefix": 3 }, "add_space_prefix is 3; it must be true or false"],
    [
      { ...pieces, "tokenizer.ggml.add_bos_token": true, "tokenizer.ggml.bos_token_id": undefined },
      "bos_token_id is missing; add_bos_token asks for one",
    ],
    [
      { ...pieces, "tokenizer.ggml.add_eos_token": true, "tokenizer.ggml.eos_token_id": undefined },
      "eos_token_id is missing; add_eos_token asks for one",
    ],
    [{ ...pieces, "tokenizer.ggml.eos_token_id": 900 }, "eos_token_id is 900; there are 900 tokens"],
    [
      many({ "tokenizer.ggml.merges": [golden.bytes.merges[0], "a \u0416"] }),
      'tokenizer.ggml.merges has "a \u0416" at 1',
    ],
    [
      many({ "tokenizer.ggml.tokens": ["x", "y", "x"], "tokenizer.ggml.token_type": [1, 1, 1] }),
      'tokenizer.ggml.tokens has "x" at 0 and at 2',
    ],
  ])("%#: by its name", (metadata, message) => {
    expect(() => filesOf(metadata)).toThrow(expect.objectContaining({ name: "ModelError" }));
    expect(() => filesOf(metadata)).toThrow(`a.gguf: `);
    expect(() => filesOf(metadata)).toThrow(message);
  });
});
