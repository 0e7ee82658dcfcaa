import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DataError } from "../../../bench/eval/data/fields.ts";
import { readConversations } from "../../../bench/throughput/conversation-file.ts";
import { conversationWorkload } from "../../../bench/throughput/conversations.ts";
import type { WorkloadModel } from "../../../bench/throughput/workload.ts";
import { loadModel } from "../../../models/load.ts";
import { createTokenizer } from "../../../server/tokenizer.ts";

const folder = mkdtempSync(join(tmpdir(), "sparq-conversations-"));
afterAll(() => rmSync(folder, { recursive: true }));

let files = 0;
function fileOf(text: string, extension = "jsonl"): string {
  const path = join(folder, `${files++}.${extension}`);
  writeFileSync(path, text);
  return path;
}

const shareGpt = (...turns: string[]) => ({
  id: "x",
  conversations: turns.map((value, i) => ({ from: i % 2 === 0 ? "human" : "gpt", value })),
});

describe("files of conversations", { timeout: 300_000 }, () => {
  const turn = fc.string({ unit: "grapheme" });

  it("are ShareGPT's list, lines of it, or lines of prompts and responses", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(turn, turn), { minLength: 1, maxLength: 8 }), (pairs) => {
        const expected = pairs.map(([prompt, answer]) => ({ prompt, answer }));
        const list = pairs.map(([prompt, answer]) => shareGpt(prompt, answer, "and then?"));
        const lines = list.map((one) => JSON.stringify(one)).join("\r\n");
        const plain = pairs.map(([prompt, response]) => JSON.stringify({ prompt, response })).join("\n\n");
        expect(readConversations(fileOf(JSON.stringify(list), "json"))).toEqual(expected);
        expect(readConversations(fileOf(lines))).toEqual(expected);
        expect(readConversations(fileOf(plain))).toEqual(expected);
      }),
      { numRuns: 30 },
    );
  });

  it("may hold conversations of fewer than two turns", () => {
    const lines = [shareGpt(), shareGpt("alone"), shareGpt("a", "b")].map((one) => JSON.stringify(one));
    expect(readConversations(fileOf(lines.join("\n")))).toEqual([null, null, { prompt: "a", answer: "b" }]);
  });

  it.each<[string, unknown, RegExp]>([
    ["no object", 7, /line 2 must be an object/],
    ["a list", [], /line 2 must be an object/],
    ["neither form", { text: "a" }, /line 2 has neither conversations nor prompt/],
    ["no response", { prompt: "a" }, /line 2 has no response/],
    ["a number for a prompt", { prompt: 1, response: "b" }, /line 2, prompt must be a text/],
    ["a list for a response", { prompt: "a", response: ["b"] }, /line 2, response must be a text/],
    ["no turns", { conversations: "a" }, /line 2, conversations must be a list/],
    ["a turn without words", { conversations: [{ from: "human" }] }, /line 2, conversations\[0\] has no value/],
    ["a turn that is a text", { conversations: ["a", "b"] }, /line 2, conversations\[0\] must be an object/],
    [
      "a second turn of another kind",
      { conversations: [{ value: "a" }, { value: {} }] },
      /line 2, conversations\[1\], value must be a text/,
    ],
  ])("with %s are refused by line and field", (_, line, message) => {
    const path = fileOf(`${JSON.stringify(shareGpt("a", "b"))}\n${JSON.stringify(line)}\n`);
    expect(() => readConversations(path)).toThrow(DataError);
    expect(() => readConversations(path)).toThrow(message);
    expect(() => readConversations(path)).toThrow(path);
  });

  it("of whatever bytes are read or refused by line, and nothing else happens", () => {
    const line = JSON.stringify(shareGpt("Where is the mill?", "By the river."));
    const damaged = fc.tuple(fc.nat(line.length), fc.nat(12), fc.string({ unit: "binary", maxLength: 6 }));
    fc.assert(
      fc.property(fc.oneof(fc.json(), fc.string({ unit: "binary" }), damaged), (given) => {
        const hostile =
          typeof given === "string"
            ? given
            : line.slice(0, given[0]) + given[2] + line.slice(Math.min(line.length, given[0] + given[1]));
        const path = fileOf(`${line}\n${hostile}\n`);
        try {
          for (const exchange of readConversations(path)) {
            if (exchange === null) continue;
            expect([typeof exchange.prompt, typeof exchange.answer]).toEqual(["string", "string"]);
          }
        } catch (error) {
          expect(error).toBeInstanceOf(DataError);
          expect((error as Error).message).toMatch(/\.jsonl, line \d+/);
        }
      }),
      { numRuns: 100 },
    );
  });

  it("that are not there, or no list, are named", () => {
    expect(() => readConversations(join(folder, "none.jsonl"))).toThrow(/none\.jsonl: ENOENT/);
    expect(() => readConversations(fileOf('{"a": 1}', "json"))).toThrow(/\.json must be a list/);
  });
});

describe("a workload of conversations", { timeout: 300_000 }, () => {
  let model: WorkloadModel;
  beforeAll(async () => {
    const { config, tokenizer } = await loadModel("tiny-llama");
    model = { tokenizer: createTokenizer(tokenizer, config), vocabSize: config.vocabSize, contextLength: 4096 };
  });
  const words = (n: number) => Array.from({ length: n }, (_, i) => `word ${i}`).join(" ");
  const lines = (...pairs: [string, string][]) =>
    fileOf(pairs.map(([prompt, response]) => JSON.stringify({ prompt, response })).join("\n"));
  const tokens = (text: string) => model.tokenizer.encode(text, { addSpecialTokens: false }).length;

  it("asks the prompts for as many tokens as they were answered with, in an order of the seed's", () => {
    const pairs = Array.from({ length: 9 }, (_, i): [string, string] => [words(3 + i), words(4 + 2 * i)]);
    const data = lines(...pairs);
    const make = (seed: number, requests = 9) =>
      conversationWorkload({ requests, data, prompts: "plain", seed }, model).requests;
    const expected = pairs.map(([prompt, answer]) => [model.tokenizer.encode(prompt).join(), tokens(answer)]);
    const found = make(1).map(({ promptIds, outputTokens }) => [promptIds.join(), outputTokens]);
    expect(found.toSorted()).toEqual(expected.toSorted());
    expect(make(1)).toEqual(make(1));
    expect(make(1, 4)).toEqual(make(1).slice(0, 4));
    expect(make(2).map(({ promptIds }) => promptIds.length)).not.toEqual(make(1).map((r) => r.promptIds.length));
  });

  it("leaves out what vLLM does, and says how many of each", () => {
    const data = fileOf(
      [
        { prompt: words(20), response: words(20) },
        { prompt: "", response: words(20) },
        { prompt: words(20), response: "." },
        { prompt: words(2000), response: words(20) },
        { prompt: words(20), response: words(3000) },
        shareGpt("alone"),
      ]
        .map((line) => JSON.stringify(line))
        .join("\n"),
    );
    const options = { data, prompts: "plain", seed: 1 } as const;
    expect(conversationWorkload({ ...options, requests: 1 }, model).requests).toHaveLength(1);
    expect(() => conversationWorkload({ ...options, requests: 2 }, model)).toThrow(
      /2 requests are wanted, and 1 of the 6 conversations of .* can be used: 2 are too long, 2 too short, 1 have/,
    );
    // Answers do not count where their length does not.
    const longer = conversationWorkload({ ...options, requests: 3, outputTokens: 7 }, model).requests;
    expect(longer.map(({ outputTokens }) => outputTokens)).toEqual([7, 7, 7]);
  });

  it("keeps to the model's context", () => {
    const data = lines([words(20), words(20)]);
    const options = { requests: 1, data, prompts: "plain", seed: 1 } as const;
    const total = model.tokenizer.encode(words(20)).length + tokens(words(20));
    expect(conversationWorkload(options, { ...model, contextLength: total }).requests).toHaveLength(1);
    expect(() => conversationWorkload(options, { ...model, contextLength: total - 1 })).toThrow(/1 are too long/);
  });

  it("can be made of the sample that comes with the repository", () => {
    const { requests, facts } = conversationWorkload({ requests: 32, prompts: "plain", seed: 1 }, model);
    expect(requests).toHaveLength(32);
    expect(facts.conversations).toBe(43);
  });
});
