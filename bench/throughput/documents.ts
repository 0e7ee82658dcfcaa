import { readLongText } from "../eval/data/sample.ts";
import { Random } from "../soak/random.ts";
import { type Workload, WorkloadError, type WorkloadModel } from "./workload.ts";

/** What is asked about a document, as what follows it. */
export const questions = [
  "Summarise the text above in one sentence.",
  "List the main points of the text above.",
  "Who takes part in the text above, and what does each of them do?",
  "Write a title for the text above and say why it fits.",
  "Summarise the text above for a child.",
  "Which of the events in the text above comes first, and which comes last?",
  "Retell the beginning of the text above in other words.",
  "Write three questions that the text above answers.",
] as const;

export interface DocumentOptions {
  readonly requests: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
  /** About each document. */
  readonly questions: number;
  /** A text that documents are cut from; default: the one that comes with the built-in models. */
  readonly data?: string;
  readonly seed: number;
}

/**
 * Long documents with questions behind them, shuffled: prompts of exactly `inputTokens` tokens, and those about one document
 * have all of it in common but what a longer question takes from its end. Throws DataError for a text that cannot be read,
 * WorkloadError where a question leaves no room for a document, or the text has fewer places to begin than documents.
 */
export function documentWorkload(options: DocumentOptions, model: WorkloadModel): Workload {
  const { inputTokens, outputTokens, seed } = options;
  const { tokenizer } = model;
  const random = new Random(seed);
  const text = tokenizer.encode(readLongText(options.data), { addSpecialTokens: false });
  const { bosTokenId } = tokenizer;
  const head = bosTokenId !== undefined && tokenizer.encode("a")[0] === bosTokenId ? [bosTokenId] : [];
  const asked = questions
    .slice(0, options.questions)
    .map((question) => tokenizer.encode(`\n\n${question}\n`, { addSpecialTokens: false }));
  const longest = Math.max(...asked.map(({ length }) => length)) + head.length;
  if (longest >= inputTokens) {
    throw new WorkloadError(`questions take up to ${longest} tokens, so prompts of ${inputTokens} have no document`);
  }
  const documents = Math.ceil(options.requests / asked.length);
  const starts = drawStarts(random, documents, text.length);
  const pairs = starts.flatMap((start) => asked.map((question) => ({ start, question })));
  return {
    labels: { input: inputTokens },
    facts: { documents, questions: asked.length, textTokens: text.length },
    requests: random.shuffle(pairs.slice(0, options.requests)).map(({ start, question }) => {
      const length = inputTokens - head.length - question.length;
      // A document that is longer than what is left of the text goes on at its beginning.
      const document = Array.from({ length }, (_, i) => text[(start + i) % text.length]!);
      return { promptIds: [...head, ...document, ...question], outputTokens, seed: random.integer(0, 2 ** 31 - 1) };
    }),
  };
}

/** Different ones: two documents that begin at one place would be one. */
function drawStarts(random: Random, documents: number, places: number): number[] {
  if (documents > places) {
    throw new WorkloadError(`${documents} documents are wanted of a text of ${places} tokens`);
  }
  const starts = new Set<number>();
  while (starts.size < documents) starts.add(random.integer(0, places - 1));
  return [...starts];
}
