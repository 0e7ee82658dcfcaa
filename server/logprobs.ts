import type { EventLogprobs, TokenEvent, Tokenizer } from "./engine/types.ts";
import { TextOffsets, TokenTexts } from "./token-texts.ts";

/** What stands for minus infinity, which JSON has no number for. */
const LOWEST = -9999;

/** A token of a text with its log-probabilities; null for a prompt's first token, which nothing comes before. */
export interface ScoredToken {
  readonly tokenId: number;
  readonly logprobs: EventLogprobs | null;
}

/** As /v1/completions has them: lists of one entry for each token. */
export interface CompletionLogprobs {
  readonly tokens: readonly string[];
  readonly token_logprobs: readonly (number | null)[];
  /** By text. Holds the token itself even if it is not among the likeliest; the same number in both places. */
  readonly top_logprobs: readonly (Readonly<Record<string, number>> | null)[];
  readonly text_offset: readonly number[];
}

/** Writes the log-probabilities of one choice of /v1/completions, piece by piece, in the order of its text. */
export class CompletionLogprobsWriter {
  private readonly texts: TokenTexts;
  private readonly offsets: TextOffsets;

  /** `echo`: the choice begins with its prompt; else offsets count from the first generated token on. */
  constructor(tokenizer: Tokenizer, options: { readonly echo: boolean }) {
    this.texts = TokenTexts.of(tokenizer);
    this.offsets = new TextOffsets(tokenizer, { atStart: options.echo });
  }

  /** The choice's next tokens. `skipSpecialTokens`: its text leaves special ones out. Mutates. */
  write(tokens: readonly ScoredToken[], options: { readonly skipSpecialTokens: boolean }): CompletionLogprobs {
    return {
      tokens: tokens.map(({ tokenId }) => this.texts.markedText(tokenId)),
      token_logprobs: tokens.map(({ logprobs }) => (logprobs === null ? null : finite(logprobs.logprob))),
      top_logprobs: tokens.map((token) => this.likeliest(token)),
      text_offset: tokens.map(({ tokenId }) => this.offsets.next(tokenId, options)),
    };
  }

  /** The likelier of two tokens of the same text. */
  private likeliest({ tokenId, logprobs }: ScoredToken): Record<string, number> | null {
    if (logprobs === null) return null;
    const byText = new Map<string, number>();
    for (const entry of [...logprobs.top, { tokenId, logprob: logprobs.logprob }]) {
      const text = this.texts.markedText(entry.tokenId);
      if (!byText.has(text)) byText.set(text, finite(entry.logprob));
    }
    return Object.fromEntries(byText);
  }
}

/** One list after the other. */
export function joinLogprobs(parts: readonly CompletionLogprobs[]): CompletionLogprobs {
  return {
    tokens: parts.flatMap(({ tokens }) => tokens),
    token_logprobs: parts.flatMap(({ token_logprobs }) => token_logprobs),
    top_logprobs: parts.flatMap(({ top_logprobs }) => top_logprobs),
    text_offset: parts.flatMap(({ text_offset }) => text_offset),
  };
}

/** The tokens of these events that have log-probabilities: all, or none if they were not asked for. */
export function scoredTokens(events: readonly TokenEvent[]): ScoredToken[] {
  return events.flatMap(({ tokenId, logprobs }) => (logprobs ? [{ tokenId, logprobs }] : []));
}

/** The tokens' log-probabilities as /v1/chat/completions has them; null if they were not asked for. */
export function chatLogprobs(tokenizer: Tokenizer, events: readonly TokenEvent[]) {
  const texts = TokenTexts.of(tokenizer);
  const entry = ({ tokenId, logprob }: { tokenId: number; logprob: number }) => {
    return { token: texts.text(tokenId), logprob: finite(logprob), bytes: [...texts.bytes(tokenId)] };
  };
  const content = events.flatMap(({ tokenId, logprobs }) => {
    return logprobs
      ? [{ ...entry({ tokenId, logprob: logprobs.logprob }), top_logprobs: logprobs.top.map(entry) }]
      : [];
  });
  return content.length === 0 ? null : { content, refusal: null };
}

function finite(logprob: number): number {
  return Math.max(logprob, LOWEST);
}
