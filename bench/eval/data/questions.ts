import { dirname, join } from "node:path";
import { DataError, type Field, isLines, readJson, readLines, readText } from "./fields.ts";

/** A question with the passage that answers it. */
export interface Question {
  readonly id: string;
  readonly title: string;
  readonly passage: string;
  readonly question: string;
  /** Any of them is right. */
  readonly answers: readonly string[];
}

/**
 * SQuAD: the public v1.1 file (`{data: [{title, paragraphs: [{context, qas}]}]}`), or lines of
 * `{id, title, context, question, answers}`. Throws DataError, naming file and line or place.
 */
export function readSquad(path: string): Question[] {
  const questions = isLines(path) ? readLines(path).map(ofLine) : readJson(path).get("data").list().flatMap(ofArticle);
  if (questions.length === 0) throw new DataError(`${path} has no questions`);
  return questions;
}

function ofLine(line: Field): Question {
  const aliases = line.find("aliases");
  return {
    id: line.get("id").text(),
    title: line.get("title").text(),
    passage: line.get("context").text(),
    question: line.get("question").text(),
    answers: [...new Set([...line.get("answers").texts(), ...(aliases?.texts() ?? [])])],
  };
}

function ofArticle(article: Field): Question[] {
  const title = article.get("title").text();
  return article
    .get("paragraphs")
    .list()
    .flatMap((paragraph) => {
      const passage = paragraph.get("context").text();
      const questions = paragraph.get("qas").list();
      return questions.map((qa) => ({
        id: qa.get("id").text(),
        title,
        passage,
        question: qa.get("question").text(),
        answers: [
          ...new Set(
            qa
              .get("answers")
              .list()
              .map((answer) => answer.get("text").text()),
          ),
        ],
      }));
    });
}

/**
 * TriviaQA: the public file of its "rc" part (`{Data: [{Question, QuestionId, Answer: {Aliases}, EntityPages,
 * SearchResults}]}`), whose evidence lies beside it in `../evidence/wikipedia` and `../evidence/web`; or lines as
 * readSquad's, whose `aliases` count as answers. Questions without evidence are left out.
 */
export function readTrivia(path: string): Question[] {
  const questions = isLines(path)
    ? readLines(path).map(ofLine)
    : readJson(path).get("Data").list().flatMap(ofTrivia(path));
  if (questions.length === 0) throw new DataError(`${path} has no questions with evidence`);
  return questions;
}

function ofTrivia(path: string): (entry: Field) => Question[] {
  const evidence = join(dirname(path), "..", "evidence");
  return (entry) => {
    const pages = entry.find("EntityPages")?.list() ?? [];
    const results = entry.find("SearchResults")?.list() ?? [];
    const page = pages[0] ?? results[0];
    if (page === undefined) return [];
    const answer = entry.get("Answer");
    const file = join(evidence, pages.length > 0 ? "wikipedia" : "web", page.get("Filename").text());
    return [
      {
        id: entry.get("QuestionId").text(),
        title: page.get("Title").text(),
        passage: readText(file),
        question: entry.get("Question").text(),
        answers: [...new Set([answer.get("Value").text(), ...answer.get("Aliases").texts()])],
      },
    ];
  };
}
