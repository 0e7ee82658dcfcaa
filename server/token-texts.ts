import type { Tokenizer } from "./engine/types.ts";

interface Entry {
  readonly bytes: Uint8Array;
  /** Null for a part of a character. */
  readonly text: string | null;
  /** Left out of generated text. */
  readonly special: boolean;
}

const cache = new WeakMap<Tokenizer, TokenTexts>();
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A tokenizer's tokens one by one, as they are within a text; each is looked up once. */
export class TokenTexts {
  private readonly tokenizer: Tokenizer;
  private readonly entries = new Map<number, Entry>();

  private constructor(tokenizer: Tokenizer) {
    this.tokenizer = tokenizer;
  }

  /** The one for this tokenizer. */
  static of(tokenizer: Tokenizer): TokenTexts {
    const texts = cache.get(tokenizer) ?? new TokenTexts(tokenizer);
    cache.set(tokenizer, texts);
    return texts;
  }

  bytes(id: number): Uint8Array {
    return this.entry(id).bytes;
  }

  /** The token's text; a part of a character, which has none, as OpenAI writes it: `\xf0\x9f`. */
  text(id: number): string {
    const { text, bytes } = this.entry(id);
    return text ?? Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
  }

  /** As `text`, with the mark that OpenAI's completions put before parts of characters: `bytes:\xf0\x9f`. */
  markedText(id: number): string {
    return this.entry(id).text ?? `bytes:${this.text(id)}`;
  }

  /** Whether generated text leaves the token out. */
  isSpecial(id: number): boolean {
    return this.entry(id).special;
  }

  private entry(id: number): Entry {
    let entry = this.entries.get(id);
    if (entry === undefined) {
      const bytes = this.tokenizer.tokenBytes(id);
      // Twice, because a text's first space may be dropped.
      const special = this.tokenizer.decode([id, id], { skipSpecialTokens: true }) === "";
      entry = { bytes, text: decodeStrictly(bytes), special };
      this.entries.set(id, entry);
    }
    return entry;
  }
}

function decodeStrictly(bytes: Uint8Array): string | null {
  try {
    return strict.decode(bytes);
  } catch {
    return null;
  }
}

/**
 * Where the tokens of a text begin, in characters (code points). A token inside a character begins where that character
 * does.
 */
export class TextOffsets {
  private readonly tokenizer: Tokenizer;
  private readonly texts: TokenTexts;
  private readonly decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  /** Nothing is there yet, so that the decoder may drop a space. */
  private atStart: boolean;
  private offset = 0;

  /** `atStart`: the first token begins the text, rather than going on with one that is not counted. */
  constructor(tokenizer: Tokenizer, options: { readonly atStart: boolean }) {
    this.tokenizer = tokenizer;
    this.texts = TokenTexts.of(tokenizer);
    this.atStart = options.atStart;
  }

  /** Where this token begins, the next of the text. Mutates. */
  next(id: number, options: { readonly skipSpecialTokens: boolean }): number {
    const start = this.offset;
    if (options.skipSpecialTokens && this.texts.isSpecial(id)) return start;
    const bytes = this.texts.bytes(id);
    const dropsSpace = this.atStart && bytes[0] === 0x20 && !this.tokenizer.decode([id]).startsWith(" ");
    this.atStart = false;
    const text = this.decoder.decode(dropsSpace ? bytes.subarray(1) : bytes, { stream: true });
    for (const _ of text) this.offset += 1;
    return start;
  }
}
