import { DataError } from "../data/fields.ts";
import { readLongText } from "../data/sample.ts";
import { commonCharacters } from "../metrics/text.ts";
import type { GenerationItem, Task } from "../types.ts";
import { lineStart, takeTokens } from "./length.ts";

const CONTEXT = 6000;
const EXCERPT = 128;
const REFERENCE = 256;

/** Repetition of the SparQ paper: an excerpt of the context comes again, and the model is to go on as it went on there. */
export const repetition: Task<GenerationItem> = {
  name: "repetition",
  metric: "characters",
  better: "higher",
  description: "6000 characters, then 128 of them again: characters, of 256, before the output departs from the text",
  items({ data, n, tokens, count, random }) {
    const text = readLongText(data);
    const least = CONTEXT + EXCERPT;
    if (text.length < least) {
      throw new DataError(`${data ?? "sample"} has ${text.length} characters; an item of repetition needs ${least}`);
    }
    return Array.from({ length: n }, (_, i) => {
      const start = lineStart(text, random.integer(0, text.length - least));
      const wanted = tokens === undefined ? text.slice(start, start + CONTEXT) : takeTokens(text, start, tokens, count);
      const context = wanted.slice(0, Math.max(wanted.lastIndexOf("\n") + 1, EXCERPT + REFERENCE + 1));
      // From the beginning of a word to the end of one, so that the tokens are those of the context.
      const first = wordStart(context, random.integer(0, context.length - EXCERPT - REFERENCE - 1));
      const end = first + context.slice(first, first + EXCERPT).search(/\s\S*$/);
      const excerpt = context.slice(first, end);
      const reference = context.slice(end, end + REFERENCE);
      return {
        kind: "generate",
        id: `${i}`,
        context: `${context}\n`,
        question: excerpt,
        maxTokens: count(reference) + 8,
        stop: [],
        settled: (output: string) => commonCharacters(output, reference) < output.length || output.length >= REFERENCE,
        score: (output: string) => commonCharacters(output, reference),
      };
    });
  },
};

function wordStart(text: string, place: number): number {
  return place === 0 ? 0 : text.slice(0, place).search(/\S*$/);
}
