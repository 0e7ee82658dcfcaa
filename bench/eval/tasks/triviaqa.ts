import { type Question, readSquad, readTrivia } from "../data/questions.ts";
import { samplePath } from "../data/sample.ts";
import type { GenerationItem, Task } from "../types.ts";
import { answerItem, examples } from "./answers.ts";
import { takeTokens, upTo } from "./length.ts";

/** Evidence of a prompt at most, in characters. */
const MOST_CHARACTERS = 8000;

/**
 * TriviaQA with evidence, zero-shot unless asked otherwise: examples come without theirs. No sample of it comes along, since its questions were collected from trivia sites: that
 * one asks SQuAD's questions, with the five paragraphs of their article as evidence.
 */
export const triviaqa: Task<GenerationItem> = {
  name: "triviaqa",
  metric: "match",
  better: "higher",
  description: "TriviaQA, 0-shot with evidence: share of outputs that begin with an answer",
  items({ data, n, tokens, shots = 0, count, random }) {
    const questions = data === undefined ? articles(readSquad(samplePath("squad.json"))) : readTrivia(data);
    const cut = (question: Question) => ({ ...question, passage: evidenceOf(question, tokens, count) });
    const asked = random.shuffle(questions).map(cut).filter(hasAnswer).slice(0, n);
    return asked.map((question) => {
      const own = `${question.passage}\n\n`;
      const others = questions.filter(({ title }) => title !== question.title).map(({ passage }) => `${passage}\n\n`);
      const padding = tokens === undefined ? [] : upTo(tokens, own, random.shuffle([...new Set(others)]), count);
      const shown = random.shuffle(questions.filter(({ title }) => title !== question.title)).slice(0, shots);
      return answerItem(question, random.shuffle([own, ...padding]).join("") + examples(shown));
    });
  },
};

/** Each question with all paragraphs of its article. */
function articles(questions: readonly Question[]): Question[] {
  return questions.map((question) => {
    const own = questions.filter(({ title }) => title === question.title).map(({ passage }) => passage);
    return { ...question, passage: [...new Set(own)].join("\n\n") };
  });
}

/** Its beginning, if all is too long. */
function evidenceOf({ passage }: Question, tokens: number | undefined, count: (text: string) => number): string {
  const most = passage.slice(0, MOST_CHARACTERS);
  return tokens === undefined ? most : takeTokens(most, 0, tokens, count);
}

function hasAnswer({ passage, answers }: Question): boolean {
  const text = passage.toLowerCase();
  return answers.some((answer) => text.includes(answer.toLowerCase()));
}
