import { describe, expect, it } from "vitest";
import { ChatTemplate, ChatTemplateError, strftime } from "../../server/chat-template.ts";
import { SpecialSpellings, unusedMark, wellFormed } from "../../server/special-tokens.ts";
import { createTokenizer } from "../../server/tokenizer.ts";

/** A character-level tokenizer with the given special tokens, merges and settings. */
function tinyTokenizer(options: { special: string[]; merges?: string[]; config?: object; template?: string }) {
  const { special, merges = [], config = {}, template } = options;
  const ascii = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i));
  const merged = merges.map((merge) => merge.replace(" ", ""));
  const tokens = [...new Set([...special, ...ascii, ...merged])];
  const tokenizerJson = {
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: { type: "Fuse" },
    model: { type: "BPE", vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges },
    added_tokens: special.map((content, id) => ({ id, content, special: true })),
  };
  const files = { tokenizerJson, tokenizerConfig: { ...config } };
  return createTokenizer(template === undefined ? files : { ...files, chatTemplate: template });
}

describe("special tokens in text", () => {
  it("breaks spellings that overlap or hold one another", () => {
    const spellings = new SpecialSpellings(["<|a|>", "|a|", "|>b", "x"]);
    expect(spellings.breakIn("<|a|>bx", "#")).toBe("<#|#a|#>bx");
    expect(spellings.breakIn("nothing < | a", "#")).toBe("nothing < | a");
  });

  it("uses a mark that the text does not contain", () => {
    expect(unusedMark(["plain"])).toBe("\ufdd0");
    expect(unusedMark(["\ufdd0", "\ufdd2\ufdd1"])).toBe("\ufdd3");
  });

  it("spells out a special token that merges would make of plain text", () => {
    const tokenizer = tinyTokenizer({ special: ["<s>"], merges: ["< s", "<s >"] });
    expect(tokenizer.encode("<s>")).not.toContain(0);
    expect(tokenizer.decode(tokenizer.encode("a<s>b"))).toBe("a<s>b");
    expect(tokenizer.encode("a<s>b", { parseSpecial: true })).toContain(0);
  });

  it("replaces halves of surrogate pairs", () => {
    expect(wellFormed("a\ud83db\u{1f44d}\udc00")).toBe("a\ufffdb\u{1f44d}\ufffd");
  });
});

describe("beginning of sequence", () => {
  const special = ["<s>"];
  it.each([
    [{ bos_token: "<s>", add_bos_token: true }, true],
    [{ bos_token: { content: "<s>" }, add_bos_token: true }, true],
    [{ bos_token: "<s>", add_bos_token: false }, false],
    [{ bos_token: "<s>" }, false],
  ])("%o", (config, added) => {
    const tokenizer = tinyTokenizer({ special, config });
    expect(tokenizer.bosTokenId).toBe(0);
    expect(tokenizer.encode("a")[0] === 0).toBe(added);
    expect(tokenizer.encode("a", { addSpecialTokens: false })).not.toContain(0);
  });

  it("is written once when the template writes it", () => {
    const config = { bos_token: "<s>", add_bos_token: true };
    const template = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}";
    const ids = tinyTokenizer({ special, config, template }).applyChatTemplate([{ role: "user", content: "<s>a" }], {
      addGenerationPrompt: true,
    });
    expect(ids.filter((id) => id === 0)).toHaveLength(1);
    expect(ids[0]).toBe(0);
  });
});

describe("chat templates", () => {
  const chat = [{ role: "user", content: "  <s> hi  " }];

  it("see the content with its special spellings, trimmed and measured alike", () => {
    const template = "{% for m in messages %}[{{ m['content'] | trim }}]{% endfor %}";
    const tokenizer = tinyTokenizer({ special: ["<s>"], template });
    const ids = tokenizer.applyChatTemplate(chat, { addGenerationPrompt: false });
    expect(tokenizer.decode(ids)).toBe("[<s> hi]");
    expect(ids).not.toContain(0);
  });

  it("are named as missing or unreadable", () => {
    const none = tinyTokenizer({ special: [] });
    expect(() => none.applyChatTemplate(chat, { addGenerationPrompt: true })).toThrow(ChatTemplateError);
    expect(() => none.applyChatTemplate(chat, { addGenerationPrompt: true })).toThrow(/no chat template/);
    const broken = tinyTokenizer({ special: [], template: "{% for %}" });
    expect(() => broken.applyChatTemplate(chat, { addGenerationPrompt: true })).toThrow(/cannot be parsed/);
    expect(broken.encode("a")).toHaveLength(1);
  });

  it("have transformers' helpers", () => {
    const now = new Date(2024, 6, 4, 9, 5, 3);
    const render = (source: string) => new ChatTemplate(source).render({ value: { a: [1, "é"] } }, now);
    expect(render("{{ strftime_now('%d %b %Y') }}")).toBe("04 Jul 2024");
    expect(render("{{ value | tojson }}")).toBe('{"a": [1, "é"]}');
    expect(render("{% for i in range(1, 6, 2) %}{{ i }}{% endfor %}{{ range(2) | length }}")).toBe("1352");
    expect(render("{% generation %}x{% endgeneration %}{{ undefined_name }}")).toBe("x");
    expect(() => render("{{ raise_exception('no tools here') }}")).toThrow(new ChatTemplateError("no tools here"));
    expect(strftime(now, "%A %a %B %-d %e %H:%I:%M:%S %p %m/%y %%")).toBe(
      "Thursday Thu July 4 %e 09:09:05:03 AM 07/24 %",
    );
  });
});
