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
  const path = join(folder, "data.jsonl");
  const write = (...conversations: readonly unknown[]) => {
    writeFileSync(path, conversations.map((one) => JSON.stringify(one)).join("\n"));
    return path;
  };
  const text = (tokens: number, mark: string) => mark.repeat(4 * tokens);

  it("are each taken once, to be answered about as long as they were", () => {
    const turns = [
      { from: "human", value: text(5, "a") },
      { from: "gpt", value: text(9, "x") },
      { from: "human", value: "?" },
    ];
    write({ conversations: turns }, { prompt: text(6, "b"), response: text(8, "y").slice(1) });
    const source = new FilePrompts(path, undefined, new Random(1));
    const prompts = [...source.take(1), ...source.take(1)].sort((one, other) => one.outputTokens - other.outputTokens);
    expect(prompts).toEqual([
      { text: text(6, "b"), outputTokens: 8 },
      { text: text(5, "a"), outputTokens: 9 },
    ]);
    expect(() => source.take(1)).toThrow(/data\.jsonl has 2 prompts .*, and 3 are needed/);
    expect(new FilePrompts(path, 3, new Random(1)).take(2).map(({ outputTokens }) => outputTokens)).toEqual([3, 3]);
  });

  it("are left out where they are too short or too long", () => {
    const exchange = (input: number, output: number) => ({ prompt: text(input, "a"), response: text(output, "b") });
    write(exchange(3, 9), exchange(9, 3), exchange(1025, 9), exchange(1000, 1049), exchange(1024, 1024), {
      conversations: [],
    });
    const source = new FilePrompts(path, undefined, new Random(1));
    expect(source.take(1)[0]).toEqual({ text: text(1024, "a"), outputTokens: 1024 });
    expect(() => source.take(1)).toThrow("has 1 prompts");
  });

  it("are refused if there are none", () => {
    expect(() => new FilePrompts(write({ text: "b" }), 7, new Random(1))).toThrow(
      /data\.jsonl.* has neither conversations nor prompt/,
    );
  });
});
