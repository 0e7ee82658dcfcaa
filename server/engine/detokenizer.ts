import type { Tokenizer } from "./types.ts";

const REPLACEMENT = "\ufffd";
/** Tokens, or bytes, of a character at most. */
const MAX_CHARACTER = 4;
/** An unfinished character shows as at most one replacement character for each byte that is there. */
const MAX_UNFINISHED = MAX_CHARACTER - 1;
/** Prompt tokens that give the first new token its context: some whole characters before an unfinished one. */
const CONTEXT_TOKENS = 16;
/** How far back from the prompt's end they are looked for. */
const CONTEXT_SEARCH = 64;
/** A window of this many tokens that never ends between characters holds broken UTF-8; it is cut to the half. */
const MAX_WINDOW = 32;

/** For each tokenizer, which of the tokens seen so far decode to nothing; all its detokenizers share it. */
const invisibleWhenSkipping = new WeakMap<Tokenizer, Map<number, boolean>>();
const invisibleOtherwise = new WeakMap<Tokenizer, Map<number, boolean>>();

export interface DetokenizerOptions {
  /** What came before: its last tokens decide, for one, whether the first new one begins with a space. */
  readonly promptIds?: readonly number[];
  /** Default true. */
  readonly skipSpecialTokens?: boolean;
  /** Special tokens that are not skipped. */
  readonly visible?: readonly number[];
}

/**
 * Turns tokens into text one by one, in constant time each. The concatenated pieces are what decoding prompt and tokens
 * together adds to the decoded prompt, and a piece never ends inside a character.
 *
 * It decodes a short window of tokens and gives out what the last one added to it. The window begins with tokens that are
 * out already, since tokenizers treat the first token of a text differently (as in TGI and vLLM: prefix and read offset).
 *
 * One exception: where a tokenizer spells characters as runs of byte tokens and decodes a run with one broken character
 * to nothing but replacement characters, whole characters that came before the broken one in its run stay.
 */
export class Detokenizer {
  private readonly tokenizer: Tokenizer;
  private readonly options: { readonly skipSpecialTokens: boolean };
  /** How the window is decoded: what is skipped is not in it. */
  private readonly decoding: { readonly skipSpecialTokens: boolean };
  private readonly visible: ReadonlySet<number>;
  private readonly invisible: Map<number, boolean>;
  private window: number[] = [];
  /** Leading tokens of the window that are out; they end between characters. */
  private read = 0;
  /** What these decode to. */
  private readText = "";
  /** Leading UTF-16 units of the window's text that are out. */
  private emitted = 0;

  constructor(tokenizer: Tokenizer, options: DetokenizerOptions = {}) {
    this.tokenizer = tokenizer;
    this.options = { skipSpecialTokens: options.skipSpecialTokens ?? true };
    this.visible = new Set(options.visible);
    this.decoding = this.visible.size > 0 ? { skipSpecialTokens: false } : this.options;
    const cache = this.options.skipSpecialTokens ? invisibleWhenSkipping : invisibleOtherwise;
    this.invisible = cache.get(tokenizer) ?? new Map();
    cache.set(tokenizer, this.invisible);
    const tail = (options.promptIds ?? []).slice(-CONTEXT_SEARCH).filter((id) => !this.isInvisible(id));
    const context = tail.slice(-CONTEXT_TOKENS);
    for (const id of context.slice(this.firstBoundary(context))) this.push(id);
  }

  /** The text that became certain with this token, often "" inside a character. Mutates. */
  push(tokenId: number): string {
    // Left out of the window too: it must not stand where a visible token gives the next one its context.
    if (this.isInvisible(tokenId)) return "";
    this.window.push(tokenId);
    const text = this.decode(this.window);
    const whole = !text.endsWith(REPLACEMENT);
    const tooLong = this.window.length > MAX_WINDOW;
    let end = text.length;
    if (!whole) {
      // A run of byte tokens that is broken so far may take what is out with it, until the next token makes it whole.
      if (!tooLong) end = text.startsWith(this.readText) ? text.indexOf(REPLACEMENT, this.emitted) : 0;
      else end -= trailingReplacements(text);
    }
    const piece = text.slice(this.emitted, end);
    this.emitted = Math.max(this.emitted, end);
    if (whole) this.slide(this.read, 0);
    else if (tooLong) this.slide(this.window.length - MAX_WINDOW / 2, text.length - this.emitted);
    return piece;
  }

  /** What is left at the end of the text: an unfinished character, as replacement characters. Mutates. */
  flush(): string {
    const text = this.decode(this.window);
    const piece = text.slice(this.emitted);
    this.emitted = Math.max(this.emitted, text.length);
    return piece;
  }

  /** Drops the window's first tokens; the last `pending` units of its text are not out yet. */
  private slide(dropped: number, pending: number): void {
    this.window = this.window.slice(dropped);
    const text = this.decode(this.window);
    this.emitted = text.length - pending;
    this.read = pending === 0 ? this.window.length : 0;
    this.readText = pending === 0 ? text : "";
  }

  /** The first token of `ids` that begins a character, if one of the first few does; else 0. */
  private firstBoundary(ids: readonly number[]): number {
    for (let start = 0; start < Math.min(MAX_CHARACTER, ids.length); start++) {
      for (let length = 1; length <= MAX_CHARACTER; length++) {
        if (!this.decode(ids.slice(start, start + length)).includes(REPLACEMENT)) return start;
      }
    }
    return 0;
  }

  /** Twice, because a text's first space may be dropped: a lone space token is not invisible. */
  private isInvisible(tokenId: number): boolean {
    if (this.visible.has(tokenId)) return false;
    let invisible = this.invisible.get(tokenId);
    if (invisible === undefined) {
      invisible = this.tokenizer.decode([tokenId, tokenId], this.options) === "";
      this.invisible.set(tokenId, invisible);
    }
    return invisible;
  }

  private decode(ids: readonly number[]): string {
    return ids.length === 0 ? "" : this.tokenizer.decode(ids, this.decoding);
  }
}

function trailingReplacements(text: string): number {
  let count = 0;
  while (count < MAX_UNFINISHED && text.at(-1 - count) === REPLACEMENT) count++;
  return count;
}
