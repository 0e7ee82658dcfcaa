import { type Field, isLines, readJson, readLines } from "../eval/data/fields.ts";

/** What was asked, and what was answered. Either may be empty. */
export interface Exchange {
  readonly prompt: string;
  readonly answer: string;
}

/**
 * Conversations of a file: a JSON list, or lines of JSON if its name ends with .jsonl or .ndjson. Each is one of ShareGPT's
 * (`{conversations: [{from, value}, ...]}`), of which the first two turns count, or `{prompt, response}`. Null for a
 * conversation with fewer than two turns. Throws DataError naming file, line or place, and field.
 */
export function readConversations(path: string): (Exchange | null)[] {
  return (isLines(path) ? readLines(path) : readJson(path).list()).map(exchangeOf);
}

function exchangeOf(line: Field): Exchange | null {
  const turns = line.find("conversations");
  if (turns !== undefined) {
    const [first, second] = turns.list().map((turn) => textOf(turn.get("value")));
    return first === undefined || second === undefined ? null : { prompt: first, answer: second };
  }
  if (line.find("prompt") === undefined) throw line.error("has neither conversations nor prompt");
  return { prompt: textOf(line.get("prompt")), answer: textOf(line.get("response")) };
}

/** ShareGPT has turns without a word: too short to count, but no fault of the file. */
function textOf(field: Field): string {
  const text = field.raw();
  if (typeof text !== "string") throw field.error("must be a text");
  return text;
}
