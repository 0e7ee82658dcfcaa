import { answerOf, promptOf, readRecallSet } from "../../accuracy/recall.ts";
import { readLongText } from "../data/sample.ts";
import { commonCharacters } from "../metrics/text.ts";
import type { GenerationItem, ItemOptions, Task } from "../types.ts";
import { drawFacts, insertLines, lineOf } from "./facts.ts";
import { takeTokens } from "./length.ts";

/** Facts of a context. */
const FACTS = 16;

/**
 * Key-value recall: one of sixteen facts scattered over a text is asked for. Without a length, the items that come with the
 * built-in models, of 2048 of their tokens.
 */
export const recall: Task<GenerationItem> = {
  name: "recall",
  metric: "exact",
  better: "higher",
  description: "one of 16 facts scattered over a text: share recalled",
  items(options) {
    const prompts = options.tokens === undefined && options.data === undefined ? given(options.n) : made(options);
    return prompts.map(([context, question, answer], i) => ({
      kind: "generate",
      id: `${i}`,
      context,
      question,
      maxTokens: 8,
      stop: ["\n"],
      settled: (output: string) => {
        const right = commonCharacters(output, answer);
        return right < output.length || right === answer.length;
      },
      score: (output: string) => Number(output.startsWith(answer)),
    }));
  },
};

type Asked = readonly [context: string, question: string, answer: string];

function given(n: number): Asked[] {
  const { filler, items } = readRecallSet();
  return items.slice(0, n).map((item) => {
    const prompt = promptOf(filler, item);
    const end = prompt.lastIndexOf("\n") + 1;
    return [prompt.slice(0, end), prompt.slice(end), answerOf(item)];
  });
}

function made({ data, n, tokens = 2048, count, random }: ItemOptions): Asked[] {
  const text = readLongText(data);
  return Array.from({ length: n }, () => {
    const facts = drawFacts(FACTS, random);
    const start = text.indexOf("\n", random.integer(0, Math.max(0, text.length - 6 * tokens))) + 1;
    const filler = takeTokens(text, start, tokens - FACTS * 9, count);
    const lines = facts.map((fact, i) => [(i + random.next()) / FACTS, lineOf(fact)] as const);
    const [key, value] = random.pick(facts);
    const context = insertLines(filler.slice(0, filler.lastIndexOf("\n") + 1), lines);
    return [context, `The secret of ${key}`, ` is ${value}`];
  });
}
