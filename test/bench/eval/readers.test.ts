import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readSquad, readTrivia } from "../../../bench/eval/data/questions.ts";
import { readLongText, samplePath } from "../../../bench/eval/data/sample.ts";
import { readSummaries } from "../../../bench/eval/data/summaries.ts";

const folder = mkdtempSync(join(tmpdir(), "sparq-eval-data-"));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, content: unknown): string {
  const path = join(folder, name);
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
}

const line = { id: "1", title: "T", context: "Ann was here.", question: "Who?", answers: ["Ann"] };

describe("SQuAD", () => {
  it("comes as a sample in its own format", () => {
    const questions = readSquad(samplePath("squad.json"));
    expect(questions).toHaveLength(160);
    expect(new Set(questions.map(({ title }) => title)).size).toBe(16);
    for (const { passage, answers } of questions) {
      for (const answer of answers) expect(passage).toContain(answer);
    }
  });

  it("is read from lines too, which may name aliases", () => {
    const path = file(
      "squad.jsonl",
      `${JSON.stringify(line)}\n\n${JSON.stringify({ ...line, id: "2", aliases: ["Anne", "Ann"] })}`,
    );
    expect(readSquad(path).map(({ id, passage, answers }) => [id, passage, answers])).toEqual([
      ["1", "Ann was here.", ["Ann"]],
      ["2", "Ann was here.", ["Ann", "Anne"]],
    ]);
  });

  it.each<[string, unknown, RegExp]>([
    ["lines.jsonl", `${JSON.stringify(line)}\n{"id": `, /lines\.jsonl, line 2 is not JSON: /],
    ["fields.jsonl", JSON.stringify({ ...line, answers: undefined }), /fields\.jsonl, line 1 has no answers/],
    ["empty.jsonl", JSON.stringify({ ...line, question: " " }), /line 1, question must be a text that is not empty/],
    ["none.jsonl", JSON.stringify({ ...line, answers: [] }), /line 1, answers must not be empty/],
    ["types.jsonl", JSON.stringify({ ...line, answers: "Ann" }), /line 1, answers must be a list/],
    ["list.jsonl", "[1]", /line 1 must be an object/],
    ["nothing.jsonl", "", /nothing\.jsonl has no questions/],
    ["file.json", "oh", /file\.json is not JSON/],
    [
      "file2.json",
      { data: [{ title: "T", paragraphs: [{ context: "x", qas: [{ id: "1" }] }] }] },
      /file2\.json, data\[0\], paragraphs\[0\], qas\[0\] has no question/,
    ],
  ])("says where %s is wrong", (name, content, message) => {
    expect(() => readSquad(file(name, content))).toThrow(message);
  });

  it("names a file that is not there", () => {
    expect(() => readSquad(join(folder, "gone.json"))).toThrow(/gone\.json: ENOENT/);
  });
});

describe("TriviaQA", () => {
  it("is read with its evidence beside it; questions without are left out", () => {
    for (const part of ["qa", "evidence/wikipedia", "evidence/web"]) mkdirSync(join(folder, part), { recursive: true });
    file("evidence/wikipedia/A.txt", "Paris is the capital.");
    file("evidence/web/9.txt", "It is Rome.");
    const answer = { Value: "Paris", Aliases: ["Paris", "Lutetia"] };
    const path = file("qa/wikipedia-dev.json", {
      Data: [
        {
          Question: "Which?",
          QuestionId: "a",
          Answer: answer,
          EntityPages: [{ Filename: "A.txt", Title: "A" }],
          SearchResults: [],
        },
        {
          Question: "Who?",
          QuestionId: "b",
          Answer: { Value: "Rome", Aliases: ["Rome"] },
          EntityPages: [],
          SearchResults: [{ Filename: "9.txt", Title: "B" }],
        },
        { Question: "None?", QuestionId: "c", Answer: answer },
      ],
    });
    expect(readTrivia(path)).toEqual([
      { id: "a", title: "A", passage: "Paris is the capital.", question: "Which?", answers: ["Paris", "Lutetia"] },
      { id: "b", title: "B", passage: "It is Rome.", question: "Who?", answers: ["Rome"] },
    ]);
  });
});

describe("summaries", () => {
  it("come as a sample", () => {
    const summaries = readSummaries(samplePath("summaries.jsonl"));
    expect(summaries).toHaveLength(24);
    for (const { article, highlights } of summaries) expect(article.length).toBeGreaterThan(highlights.length);
  });

  it("without an article are refused", () => {
    const path = file("summaries.jsonl", JSON.stringify({ id: "1", highlights: "x" }));
    expect(() => readSummaries(path)).toThrow(/summaries\.jsonl, line 1 has no article/);
  });
});

it("an empty text is refused", () => {
  expect(() => readLongText(file("empty.txt", " \n"))).toThrow(/empty\.txt is empty/);
});
