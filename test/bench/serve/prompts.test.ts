import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { FilePrompts } from "../../../bench/serve/data-file.ts";
import { WordPrompts } from "../../../bench/serve/prompts.ts";
import { Random } from "../../../bench/soak/random.ts";

const folder = mkdtempSync(join(tmpdir(), "sparq-serve-"));
afterAll(() => rmSync(folder, { recursive: true }));

const sizes = { inputTokens: 100, outputTokens: 7, sharedPrefixTokens: 0 };
const scale = { overhead: 20, perWord: 2 };
const wordsOf = (text: string) => text.split(" ");

describe("words at random", () => {
  it("are as many as make the tokens, never the same twice, and the same for a seed", () => {
    const source = new WordPrompts(sizes, scale, new Random(3));
    const prompts = [...source.take(20), ...source.take(20)];
    for (const { text, outputTokens } of prompts) {
      expect(outputTokens).toBe(7);
      expect(wordsOf(text)).toHaveLength(40);
    }
    expect(new Set(prompts.map(({ text }) => text)).size).toBe(40);
    expect(new WordPrompts(sizes, scale, new Random(3)).take(20)).toEqual(prompts.slice(0, 20));
  });

  it("begin in the same way within a round, and in another in the next", () => {
    const source = new WordPrompts({ ...sizes, sharedPrefixTokens: 60 }, scale, new Random(3));
    const beginnings = [1, 2].map(() => {
      const prompts = source.take(5).map(({ text }) => wordsOf(text));
      const begin = prompts.map((words) => words.slice(0, 30).join(" "));
      expect(new Set(begin).size).toBe(1);
      expect(new Set(prompts.map((words) => words.slice(30).join(" "))).size).toBe(5);
      expect(prompts.every((words) => words.length === 40)).toBe(true);
      return begin[0];
    });
    expect(beginnings[0]).not.toBe(beginnings[1]);
  });

  it("are one at least, and one of a prompt's own", () => {
    const source = new WordPrompts({ ...sizes, inputTokens: 8, sharedPrefixTokens: 7 }, scale, new Random(3));
    expect(wordsOf(source.take(1)[0]!.text)).toHaveLength(1);
  });
});

describe("prompts of a file", () => {
  const write = (name: string, text: string) => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const lines = [
    JSON.stringify({ prompt: "one", output_tokens: 3 }),
    "",
    JSON.stringify({
      conversations: [
        { from: "system", value: "be" },
        { from: "human", value: "two" },
        { from: "gpt", value: "x" },
      ],
    }),
  ];

  it("are of JSON lines or an array, each once", () => {
    for (const text of [lines.join("\n"), `[${lines.filter((line) => line !== "").join(",")}]`]) {
      const source = new FilePrompts(write("data.jsonl", text), 7, new Random(1));
      const prompts = [...source.take(1), ...source.take(1)].sort((a, b) => a.text.localeCompare(b.text));
      expect(prompts).toEqual([
        { text: "one", outputTokens: 3 },
        { text: "two", outputTokens: 7 },
      ]);
      expect(() => source.take(1)).toThrow(/data\.jsonl has 2 prompts, and 3 are needed/);
    }
  });

  it.each([
    ["{", /is neither JSON lines nor a JSON array/],
    ['{"prompt": "a"}\n{"text": "b"}', /bad\.jsonl, 2: needs "prompt"/],
    ["null", /bad\.jsonl, 1: needs "prompt"/],
    ['{"prompt": ""}', /bad\.jsonl, 1: needs "prompt"/],
    ['{"prompt": "a", "output_tokens": 0.5}', /output_tokens must be a whole number from 1, not 0\.5/],
  ])("are refused: %s", (text, message) => {
    expect(() => new FilePrompts(write("bad.jsonl", text), 7, new Random(1))).toThrow(message);
  });
});
