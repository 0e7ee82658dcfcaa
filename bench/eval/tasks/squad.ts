import { readSquad } from "../data/questions.ts";
import { samplePath } from "../data/sample.ts";
import type { GenerationItem, Task } from "../types.ts";
import { answerItem } from "./answers.ts";
import { upTo } from "./length.ts";

/** Passages of a prompt, the one with the answer among them. */
const PASSAGES = 8;

/**
 * SQuAD v1.1, one-shot, as the SparQ paper sets it up: the passage with the answer among seven of other articles; the
 * example asks about one of these.
 */
export const squad: Task<GenerationItem> = {
  name: "squad",
  metric: "match",
  better: "higher",
  description: "SQuAD v1.1, 1-shot, 8 shuffled passages: share of outputs that begin with an answer",
  items({ data = samplePath("squad.json"), n, tokens, count, random }) {
    const questions = readSquad(data);
    return random
      .shuffle(questions)
      .slice(0, n)
      .map((asked) => {
        const others = random.shuffle(questions.filter(({ title }) => title !== asked.title));
        const example = others[0]!;
        const passages = [...new Map(others.map((other) => [other.passage, background(other)])).values()];
        const tail = `Question: ${example.question}\nAnswer: ${example.answers[0]}\n\n`;
        const own = background(asked);
        const confusers =
          tokens === undefined ? passages.slice(0, PASSAGES - 1) : withFirst(passages, tokens, own + tail, count);
        const context = random.shuffle([own, ...confusers]).join("") + tail;
        return answerItem(asked, context);
      });
  },
};

/** As many as fit, the example's passage in any case. */
function withFirst(passages: readonly string[], tokens: number, base: string, count: (text: string) => number) {
  const [first, ...rest] = passages;
  return [first!, ...upTo(tokens, first! + base, rest, count)];
}

function background({ title, passage }: { readonly title: string; readonly passage: string }): string {
  return `Title: ${title.replaceAll("_", " ")}\nBackground: ${passage}\n\n`;
}
