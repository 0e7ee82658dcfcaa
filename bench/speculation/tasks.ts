import type { SamplingParams, Tokenizer } from "../../server/engine/types.ts";

export interface Task {
  readonly name: string;
  /** Whether its answers repeat what the prompt, or they themselves, have said. */
  readonly repeats: boolean;
  readonly temperature: number;
  /** The user's message to the `index`-th of the sequences that run together. */
  message(index: number): string;
}

const people = [
  "Ada Byron",
  "Emil Berg",
  "Ines Prado",
  "Jonas Falk",
  "Mara Winter",
  "Noor Haddad",
  "Oskar Lind",
  "Vera Sand",
];
const towns = ["Aarhus", "Bergen", "Cádiz", "Dresden", "Évora", "Ghent", "Lille", "Malmö"];
const subjects = [
  "a lighthouse",
  "a clockmaker",
  "an orchard",
  "a ferry",
  "a mountain school",
  "a radio",
  "an old map",
  "a bakery",
];

/** A small table with values of its own for each index. */
function records(index: number): string {
  return people
    .map((name, i) => {
      const number = (index * 37 + i * 7919) % 9973;
      return `{"id": ${1000 + number}, "name": "${name}", "town": "${towns[(i + index) % towns.length]}", "paid": ${(number * 13) % 500}.50}`;
    })
    .join("\n");
}

const notes = (index: number) =>
  `The meeting about ${subjects[index % subjects.length]} began at nine. ${people[index % people.length]} reported that the ` +
  `roof has to be repaired before winter and that the repair will cost about four thousand crowns. ${people[(index + 3) % people.length]} ` +
  `asked whether the town of ${towns[index % towns.length]} could pay a part of it, and offered to write to the council. It was agreed ` +
  "that two more offers are needed, that the letter goes out this week, and that all meet again on the first Monday in March.";

/** What an assistant is asked for that quotes its prompt, and what it is asked for that does not. */
export const tasks: readonly Task[] = [
  {
    name: "copy records",
    repeats: true,
    temperature: 0,
    message: (i) => `Write these records again, one a line, exactly as they are:\n\n${records(i)}`,
  },
  {
    name: "correct a text",
    repeats: true,
    temperature: 0,
    message: (i) => `Correct the spelling of this text and change nothing else:\n\n${notes(i)}`,
  },
  {
    name: "summarise a text",
    repeats: true,
    temperature: 0,
    message: (i) => `Summarise this text:\n\n${notes(i)}`,
  },
  {
    name: "tell a story",
    repeats: false,
    temperature: 0.8,
    message: (i) => `Tell me a story about ${subjects[i % subjects.length]}.`,
  },
  {
    name: "explain",
    repeats: false,
    temperature: 0.8,
    message: (i) => `How does ${subjects[i % subjects.length]} matter to a small town? Explain it to a child.`,
  },
];

/** The task's request for the `index`-th sequence; in a chat, if the model knows how. */
export function requestOf(task: Task, index: number, tokenizer: Tokenizer, chat: boolean, maxTokens: number) {
  const content = task.message(index);
  const promptIds = chat
    ? tokenizer.applyChatTemplate([{ role: "user", content }], { addGenerationPrompt: true })
    : tokenizer.encode(`${content}\n\n`);
  const sampling: SamplingParams = {
    maxTokens,
    temperature: task.temperature,
    topP: 1,
    topK: 0,
    seed: index,
    stop: [],
    ignoreEos: false,
  };
  return { id: `${index}`, promptIds, sampling };
}
