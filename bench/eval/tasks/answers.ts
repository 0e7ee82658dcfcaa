import type { Question } from "../data/questions.ts";
import { isSettled, matches } from "../metrics/match.ts";
import type { GenerationItem, ScoringItem } from "../types.ts";

/** Answers are short: what is longer is cut. */
const MAX_TOKENS = 24;

/** A question after its context; right if the output's first line begins with an answer. */
export function answerItem({ id, question, answers }: Question, context: string): GenerationItem {
  return {
    kind: "generate",
    id,
    context,
    question: asking(question),
    maxTokens: MAX_TOKENS,
    stop: [],
    settled: (text) => firstLine(text).ended || isSettled(firstLine(text).line, answers),
    score: (text) => Number(matches(firstLine(text).line, answers)),
  };
}

/** The same question; what the first of its answers costs, by token. */
export function answerCost({ id, question, answers }: Question, context: string): ScoringItem {
  return {
    ...{ kind: "score", id, context, question: asking(question), continuation: ` ${answers[0]}` },
    score: ({ nats, tokens }) => nats / tokens,
  };
}

function asking(question: string): string {
  return `Question: ${question}\nAnswer:`;
}

/** Questions with their answers, for the form that an answer is to have. */
export function examples(questions: readonly Question[]): string {
  return questions.map(({ question, answers }) => `Question: ${question}\nAnswer: ${answers[0]}\n\n`).join("");
}

/** The first line that is not blank: chat models begin with line breaks at times. */
function firstLine(text: string): { readonly line: string; readonly ended: boolean } {
  const [line = "", ...rest] = text.trimStart().split("\n");
  return { line, ended: rest.length > 0 };
}
