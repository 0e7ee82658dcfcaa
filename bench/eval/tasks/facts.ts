import { readRecallSet } from "../../accuracy/recall.ts";
import type { Random } from "../../soak/random.ts";
import { lineStart } from "./length.ts";

/** A key and its value. */
export type Fact = readonly [key: string, value: string];

/** So many facts without a word in common, of the words that the built-in models know as one token each. */
export function drawFacts(count: number, random: Random): Fact[] {
  const known = readRecallSet().items.flatMap(({ facts }) => facts.flatMap(([, key, value]) => [key, value]));
  const words = random.shuffle([...new Set(known)].sort());
  return Array.from({ length: count }, (_, i) => [words[2 * i]!, words[2 * i + 1]!]);
}

export function lineOf([key, value]: Fact): string {
  return `The secret of ${key} is ${value}.\n`;
}

/** Puts lines into a text, each at the last line break before its share of the text. Shares ascend. */
export function insertLines(text: string, lines: readonly (readonly [share: number, line: string])[]): string {
  let whole = "";
  let last = 0;
  for (const [share, line] of lines) {
    const place = Math.max(last, lineStart(text, Math.round(share * text.length)));
    whole += text.slice(last, place) + line;
    last = place;
  }
  return whole + text.slice(last);
}
