import type { Question } from "../data/questions.ts";
import { isSettled, matches } from "../metrics/match.ts";
import type { GenerationItem } from "../types.ts";

/** Answers are short: what is longer is cut. */
const MAX_TOKENS = 24;

/** A question after its context; right if the output begins with an answer. */
export function answerItem({ id, question, answers }: Question, context: string): GenerationItem {
  return {
    kind: "generate",
    id,
    context,
    question: `Question: ${question}\nAnswer:`,
    maxTokens: MAX_TOKENS,
    stop: ["\n"],
    settled: (text) => isSettled(text, answers),
    score: (text) => Number(matches(text, answers)),
  };
}
