import { readSquad } from "../data/questions.ts";
import { samplePath } from "../data/sample.ts";
import type { GenerationItem, ItemOptions, ScoringItem, Task } from "../types.ts";
import { answerCost, answerItem, examples } from "./answers.ts";
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
  items: (options) => prompts(options).map(({ asked, context }) => answerItem(asked, context)),
};

/** Prompts of the same kind. A model that answers few questions says something of each all the same: what the right answer costs it. */
export const squadAnswers: Task<ScoringItem> = {
  name: "squad-answers",
  metric: "nats per token",
  better: "lower",
  description: "SQuAD's prompts: what a token of the right answer costs",
  items: (options) => prompts(options).map(({ asked, context }) => answerCost(asked, context)),
};

function prompts({ data = samplePath("squad.json"), n, tokens, shots = 1, count, random }: ItemOptions) {
  const questions = readSquad(data);
  return random
    .shuffle(questions)
    .slice(0, n)
    .map((asked) => {
      const others = random.shuffle(questions.filter(({ title }) => title !== asked.title));
      // One question of each passage, so that all passages of the examples are among the confusers.
      const confusers = [...new Map(others.map((other) => [other.passage, other])).values()];
      const own = background(asked);
      const shown = confusers.slice(0, shots);
      const tail = examples(shown);
      const passages = confusers.map(background);
      const before =
        tokens === undefined
          ? passages.slice(0, Math.max(shots, PASSAGES - 1))
          : [
              ...passages.slice(0, shots),
              ...upTo(tokens, own + passages.slice(0, shots).join("") + tail, passages.slice(shots), count),
            ];
      return { asked, context: random.shuffle([own, ...before]).join("") + tail };
    });
}

function background({ title, passage }: { readonly title: string; readonly passage: string }): string {
  return `Title: ${title.replaceAll("_", " ")}\nBackground: ${passage}\n\n`;
}
