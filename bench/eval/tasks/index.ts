import type { Task } from "../types.ts";
import { needle } from "./needle.ts";
import { recall } from "./recall.ts";
import { repetition } from "./repetition.ts";
import { squad, squadAnswers } from "./squad.ts";
import { summarisation } from "./summarisation.ts";
import { agreement, ppl, wikitext } from "./texts.ts";
import { triviaqa } from "./triviaqa.ts";

/** What `sparq eval` can measure, by name. */
export const tasks: ReadonlyMap<string, Task> = new Map(
  [squad, squadAnswers, triviaqa, summarisation, wikitext, repetition, needle, recall, ppl, agreement].map((task) => [
    task.name,
    task,
  ]),
);
