import type { TokenEvent, Tokenizer } from "./engine/types.ts";

/** What stands for minus infinity, which JSON has no number for. */
const LOWEST = -9999;

/** The tokens' log-probabilities as /v1/completions has them; null if they were not asked for. */
export function completionLogprobs(tokenizer: Tokenizer, events: readonly TokenEvent[], textOffset = 0) {
  const entries = events.flatMap(({ tokenId, logprobs }) => (logprobs ? [{ tokenId, ...logprobs }] : []));
  if (entries.length === 0) return null;
  const tokens = entries.map(({ tokenId }) => tokenText(tokenizer, tokenId));
  let offset = textOffset;
  return {
    tokens,
    token_logprobs: entries.map(({ logprob }) => finite(logprob)),
    // The likelier of two tokens of the same text, and the token itself even if it is not among the likeliest.
    top_logprobs: entries.map((entry) => {
      const byText = new Map<string, number>();
      for (const { tokenId, logprob } of [...entry.top, entry]) {
        const text = tokenText(tokenizer, tokenId);
        if (!byText.has(text)) byText.set(text, finite(logprob));
      }
      return Object.fromEntries(byText);
    }),
    text_offset: tokens.map((token) => {
      const start = offset;
      offset += characters(token);
      return start;
    }),
  };
}

/** The tokens' log-probabilities as /v1/chat/completions has them; null if they were not asked for. */
export function chatLogprobs(tokenizer: Tokenizer, events: readonly TokenEvent[]) {
  const entry = ({ tokenId, logprob }: { tokenId: number; logprob: number }) => {
    const token = tokenText(tokenizer, tokenId);
    return { token, logprob: finite(logprob), bytes: bytesOf(token) };
  };
  const content = events.flatMap(({ tokenId, logprobs }) => {
    return logprobs
      ? [{ ...entry({ tokenId, logprob: logprobs.logprob }), top_logprobs: logprobs.top.map(entry) }]
      : [];
  });
  return content.length === 0 ? null : { content, refusal: null };
}

/** Characters of a text, as offsets count them. */
export function characters(text: string): number {
  return [...text].length;
}

/** A token's text as it is within a text: decoders drop the space that a first token begins with. */
function tokenText(tokenizer: Tokenizer, id: number): string {
  return tokenizer.decode([id, id]).slice(tokenizer.decode([id]).length);
}

/** A part of a character has no text of its own, and then its bytes are unknown. */
function bytesOf(token: string): number[] | null {
  return token.includes("\ufffd") ? null : [...Buffer.from(token)];
}

function finite(logprob: number): number {
  return Math.max(logprob, LOWEST);
}
