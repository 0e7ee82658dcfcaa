import { DataError } from "../data/fields.ts";
import { samplePath } from "../data/sample.ts";
import { readSummaries, type Summary } from "../data/summaries.ts";
import { rougeL } from "../metrics/rouge.ts";
import type { GenerationItem, Task } from "../types.ts";
import { upTo } from "./length.ts";

/** Summaries, as the SparQ paper asks for those of CNN/DailyMail. Longer prompts have other articles with theirs before. */
export const summarisation: Task<GenerationItem> = {
  name: "summarisation",
  metric: "rougeL",
  better: "higher",
  description: "summary of an article in at most 128 tokens: ROUGE-L F1 against people's",
  items({ data = samplePath("summaries.jsonl"), n, tokens, count, random }) {
    const summaries = readSummaries(data);
    const fitting = summaries.filter(({ article }) => tokens === undefined || count(article) <= tokens);
    if (fitting.length === 0) throw new DataError(`${data} has no article of at most ${tokens} tokens`);
    return random
      .shuffle(fitting)
      .slice(0, n)
      .map((own) => {
        const article = `Article: ${own.article}`;
        const others = random.shuffle(summaries.filter(({ id }) => id !== own.id)).map(shown);
        const before = tokens === undefined ? [] : upTo(tokens, article, others, count);
        return {
          kind: "generate",
          id: own.id,
          context: before.join("") + article,
          question: "\nSummary:",
          maxTokens: 128,
          stop: ["\n\n", "\nArticle:"],
          score: (text: string) => rougeL(text, own.highlights),
        };
      });
  },
};

function shown({ article, highlights }: Summary): string {
  return `Article: ${article}\nSummary: ${highlights}\n\n`;
}
