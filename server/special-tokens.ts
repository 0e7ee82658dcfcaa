/**
 * Special tokens ("<|im_end|>") are recognised by their spelling, so text that merely spells one must be told apart. A
 * mark, a character that the text does not contain, is put inside each such spelling before the text is cut at special
 * tokens, and taken out again before it is tokenised. What the rest of the pipeline sees is the text itself.
 */
export class SpecialSpellings {
  readonly #pattern: RegExp | null;

  /** `contents`: the spellings. One-character ones cannot be broken by a mark inside and are left out. */
  constructor(contents: Iterable<string>) {
    const breakable = [...new Set(contents)].filter((content) => Array.from(content).length > 1);
    if (breakable.length === 0) {
      this.#pattern = null;
      return;
    }
    // The set of first characters makes the common position cheap. Only the first character is consumed, so that
    // spellings which overlap are all found.
    const first = [...new Set(breakable.map((content) => escapeRegExp(firstCharacter(content))))].join("|");
    const all = breakable.map(escapeRegExp).join("|");
    this.#pattern = new RegExp(`(?=${first})(?=${all})[\\s\\S]`, "gu");
  }

  /** `text` with `mark` after the first character of every special token that it spells. */
  breakIn(text: string, mark: string): string {
    return this.#pattern === null ? text : text.replace(this.#pattern, (character) => character + mark);
  }
}

/** A character that none of `texts` contains: one of Unicode's noncharacters if possible. */
export function unusedMark(texts: readonly string[]): string {
  // U+FDD0..U+FDEF are noncharacters; should a text hold all of them, any code point that follows will do.
  for (let codePoint = 0xfdd0; ; codePoint++) {
    const mark = String.fromCodePoint(codePoint);
    if (!texts.some((text) => text.includes(mark))) return mark;
  }
}

/** Replaces halves of surrogate pairs, which have no UTF-8 and would become one when tokenised. */
export function wellFormed(text: string): string {
  return text.replace(/\p{Surrogate}/gu, "\ufffd");
}

function firstCharacter(text: string): string {
  return String.fromCodePoint(text.codePointAt(0) as number);
}

function escapeRegExp(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
}
