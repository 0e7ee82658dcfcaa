import { DataError } from "../data/fields.ts";

type Count = (text: string) => number;

/**
 * A piece of `text` from `start` on of about so many tokens, to a few per cent; ends with the text if that is too short.
 */
export function takeTokens(text: string, start: number, tokens: number, count: Count): string {
  let characters = 4 * tokens;
  for (let round = 0; round < 4; round++) {
    const piece = text.slice(start, start + characters);
    const counted = count(piece);
    if (Math.abs(counted - tokens) <= tokens / 100 || (piece.length < characters && counted < tokens)) break;
    characters = Math.max(1, Math.round((piece.length * tokens) / counted));
  }
  return text.slice(start, start + characters);
}

/** `n` places to start at, evenly spread so that pieces of `length` characters end within the text. */
export function spread(n: number, text: string, length: number, what: string): number[] {
  const room = text.length - length;
  if (room < 0) throw new DataError(`${what} has ${text.length} characters; an item needs ${length}`);
  return Array.from({ length: n }, (_, i) => (n === 1 ? 0 : Math.floor((i * room) / (n - 1))));
}

/** Those of `pieces`, the first that fit, with which `base` has at most so many tokens. */
export function upTo(tokens: number, base: string, pieces: readonly string[], count: Count): string[] {
  const taken: string[] = [];
  let total = count(base);
  for (const piece of pieces) {
    const more = count(piece);
    if (total + more > tokens) continue;
    taken.push(piece);
    total += more;
  }
  return taken;
}

/** The place right after the last line break at or before `place`; 0 if there is none. */
export function lineStart(text: string, place: number): number {
  return text.lastIndexOf("\n", place - 1) + 1;
}
