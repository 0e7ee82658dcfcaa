import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { randomOf, setOf } from "../../../bench/eval/results.ts";
import { insertLines } from "../../../bench/eval/tasks/facts.ts";
import { tasks } from "../../../bench/eval/tasks/index.ts";
import { spread, takeTokens, upTo } from "../../../bench/eval/tasks/length.ts";
import type { GenerationItem, ItemOptions, ScoringItem } from "../../../bench/eval/types.ts";

const folder = mkdtempSync(join(tmpdir(), "sparq-eval-tasks-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Words and what is between them. */
const count = (text: string) => text.match(/\w+|[^\w]/g)?.length ?? 0;

function itemsOf(name: string, given: Partial<ItemOptions> = {}, seed = 1) {
  const options = { data: undefined, n: 6, tokens: undefined, count, random: randomOf(seed, name), ...given };
  return tasks.get(name)!.items(options);
}

const generated = (name: string, given?: Partial<ItemOptions>) => itemsOf(name, given) as GenerationItem[];

describe.each([...tasks.keys()])("%s", (name) => {
  it("has the same items for the same seed", () => {
    const sum = (seed: number) => setOf(name, null, "sample", itemsOf(name, {}, seed), 0).sha256;
    expect(sum(1)).toBe(sum(1));
    // What is spread evenly, or comes from a file in order, has no chance in it.
    if (!["wikitext", "ppl", "agreement", "recall"].includes(name)) expect(sum(2)).not.toBe(sum(1));
  });

  it("has no more items than asked for, each with a name of its own", () => {
    const items = itemsOf(name, { n: 5 });
    expect(items).toHaveLength(5);
    expect(new Set(items.map(({ id }) => id)).size).toBe(5);
  });

  it.each([1024, 4096])("can be about %i tokens long", (tokens) => {
    for (const { context } of itemsOf(name, { n: 3, tokens })) {
      expect(count(context)).toBeGreaterThan(tokens * 0.7);
      expect(count(context)).toBeLessThan(tokens * 1.2);
    }
  });
});

describe("items", () => {
  it("of squad have eight passages of eight articles, an example, and the question", () => {
    for (const { context, question, score, stop } of generated("squad")) {
      const titles = [...context.matchAll(/^Title: (.*)$/gm)].map(([, title]) => title);
      expect(titles).toHaveLength(8);
      expect(new Set(titles).size).toBeGreaterThan(5);
      expect(context).toMatch(/\n\nQuestion: [^\n]+\nAnswer: [^\n]+\n\n$/);
      expect(question).toMatch(/^Question: [^\n]+\nAnswer:$/);
      expect(stop).toEqual([]);
      expect(score(" certainly not this")).toBe(0);
    }
  });

  it("of squad-answers are such questions with the first of their answers, of which a token counts", () => {
    for (const { context, question, continuation, score } of itemsOf("squad-answers") as ScoringItem[]) {
      expect(context.match(/^Title: /gm)).toHaveLength(8);
      expect(question).toMatch(/^Question: [^\n]+\nAnswer:$/);
      expect(context).toContain(continuation.slice(1)); // the sample's answers are in their passages
      expect(score({ nats: 6, tokens: 3 })).toBe(2);
    }
  });

  it("of squad score an answer", () => {
    const data = join(folder, "squad.jsonl");
    const of = (title: string) => ({
      id: title,
      title,
      context: `${title} was here.`,
      question: `Who ${title}?`,
      answers: [title],
    });
    writeFileSync(data, ["Ann", "Bob"].map((title) => JSON.stringify(of(title))).join("\n"));
    for (const { id, context, question, score, settled } of generated("squad", { data })) {
      expect(question).toBe(`Question: Who ${id}?\nAnswer:`);
      expect(context).toContain(`Title: ${id}\nBackground: ${id} was here.\n\n`);
      const other = id === "Ann" ? "Bob" : "Ann";
      expect(context.endsWith(`Question: Who ${other}?\nAnswer: ${other}\n\n`)).toBe(true);
      expect([score(` ${id}, yes`), score(other)]).toEqual([1, 0]);
      expect([settled!(` ${id} `), settled!(` ${id}`), settled!(` ${other} `)]).toEqual([true, false, true]);
    }
  });

  it("may have more or fewer examples", () => {
    for (const name of ["squad", "triviaqa"]) {
      for (const shots of [0, 3]) {
        for (const { context } of generated(name, { shots }))
          expect(context.match(/^Answer: ./gm) ?? []).toHaveLength(shots);
      }
    }
  });

  it("score the first line of an answer", () => {
    const [{ score, settled }] = generated("squad") as [GenerationItem];
    expect([settled!("\n\n"), settled!("\n\nnot\n"), score("\n\nnot this")]).toEqual([false, true, 0]);
  });

  it("of triviaqa have an answer in their evidence", () => {
    for (const { context, question } of generated("triviaqa")) {
      expect(context).not.toContain("Title:");
      expect(question).toMatch(/^Question: [^\n]+\nAnswer:$/);
    }
  });

  it("of repetition say a part of the context again, of which the sequel is known", () => {
    for (const { context, question, score, settled } of generated("repetition")) {
      const place = context.indexOf(question);
      expect(place).toBeGreaterThanOrEqual(0);
      const sequel = context.slice(place + question.length, place + question.length + 256);
      expect(sequel).toHaveLength(256);
      expect(sequel).toMatch(/^\s/);
      expect([score(sequel), score(`${sequel.slice(0, 9)}#`), score("")]).toEqual([256, 9, 0]);
      expect([settled!(sequel), settled!(sequel.slice(0, 9)), settled!("#")]).toEqual([true, false, true]);
    }
  });

  it("of needle go through the depths", () => {
    const items = generated("needle", { n: 12, tokens: 1000 });
    expect(items.map(({ depth }) => depth)).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1, 0, 0.2, 0.4, 0.6, 0.8, 1]);
    for (const { context, question, depth, score } of items) {
      const [, value] = new RegExp(`${question} (\\w+)\\.\n`).exec(context)!;
      expect(context.indexOf(question) / context.length).toBeCloseTo(depth!, 0.5);
      expect([score(` ${value}.`), score(" nothing")]).toEqual([1, 0]);
    }
  });

  it("of recall ask for one of sixteen facts", () => {
    for (const options of [{}, { tokens: 1500 }]) {
      for (const { context, question, score, settled } of generated("recall", options)) {
        expect(context.match(/The secret of \w+ is \w+\.\n/g)).toHaveLength(16);
        const [, value] = new RegExp(`${question} is (\\w+)\\.`).exec(context)!;
        expect([score(` is ${value}.`), score(" is")]).toEqual([1, 0]);
        expect([settled!(" is"), settled!(` is ${value}`), settled!(" was")]).toEqual([false, true, true]);
      }
    }
  });

  it("of texts follow their contexts, and what they cost is counted by character or token", () => {
    const [first] = itemsOf("wikitext") as ScoringItem[];
    expect([first!.context.length, first!.continuation.length]).toEqual([6000, 400]);
    expect(first!.score({ nats: 400 * Math.LN2, tokens: 99 })).toBeCloseTo(1, 12);
    const [passage] = itemsOf("ppl") as ScoringItem[];
    expect(passage!.score({ nats: 30, tokens: 10 })).toBe(3);
    expect(tasks.get("ppl")!.transform!(3)).toBeCloseTo(Math.exp(3), 12);
  });

  it("are refused if the text is too short for one", () => {
    const data = join(folder, "short.txt");
    writeFileSync(data, "too short");
    expect(() => itemsOf("ppl", { data })).toThrow(/short\.txt has 9 characters; an item needs 7024/);
    expect(() => itemsOf("repetition", { data })).toThrow(
      /short\.txt has 9 characters; an item of repetition needs 6128/,
    );
  });
});

describe("lengths", () => {
  const text = "one two three four five six seven eight nine ten ".repeat(200);

  it("are met to a few per cent", () => {
    expect(count(takeTokens(text, 0, 500, count))).toBeGreaterThan(485);
    expect(count(takeTokens(text, 0, 500, count))).toBeLessThan(515);
    expect(takeTokens(text, text.length - 10, 500, count)).toBe(text.slice(-10));
  });

  it("are filled up by pieces in order", () => {
    expect(upTo(9, "a b ", ["c d ", "e f ", "g", "h"], count)).toEqual(["c d ", "g"]);
    expect(upTo(1, "a b ", ["c d "], count)).toEqual([]);
  });

  it("are spread from the beginning to the end", () => {
    expect(spread(3, "x".repeat(110), 10, "text")).toEqual([0, 50, 100]);
    expect(spread(1, "x".repeat(110), 10, "text")).toEqual([0]);
  });
});

it("lines are put where lines begin", () => {
  const text = "ab\ncd\nef\n";
  expect(
    insertLines(text, [
      [0, "0\n"],
      [0.5, "1\n"],
      [1, "2\n"],
    ]),
  ).toBe("0\nab\n1\ncd\nef\n2\n");
});
