import { readLongText } from "../data/sample.ts";
import { isSettled, matches } from "../metrics/match.ts";
import type { GenerationItem, Task } from "../types.ts";
import { drawFacts, insertLines, lineOf } from "./facts.ts";
import { takeTokens } from "./length.ts";

const DEFAULT_TOKENS = 2048;
/** Depths of a grid: 0, 0.2, ..., 1. */
const DEPTHS = 6;

/** A fact at some depth of a filler, asked for at its end. The items go through the depths in turn. */
export const needle: Task<GenerationItem> = {
  name: "needle",
  metric: "found",
  better: "higher",
  description: "one fact in a long text, at depths from its start to its end: share found",
  items({ data, n, tokens = DEFAULT_TOKENS, count, random }) {
    const text = readLongText(data);
    return Array.from({ length: n }, (_, i) => {
      const depth = (i % DEPTHS) / (DEPTHS - 1);
      const [fact] = drawFacts(1, random);
      const start = text.indexOf("\n", random.integer(0, Math.max(0, text.length - 6 * tokens))) + 1;
      const filler = takeTokens(text, start, tokens, count);
      const context = insertLines(filler.slice(0, filler.lastIndexOf("\n") + 1), [[depth, lineOf(fact!)]]);
      const [key, value] = fact!;
      return {
        kind: "generate",
        id: `${i}`,
        context,
        question: `The secret of ${key} is`,
        maxTokens: 8,
        stop: ["\n"],
        settled: (output: string) => isSettled(output, [value]),
        score: (output: string) => Number(matches(output, [value])),
        depth,
      };
    });
  },
};
