/**
 * `tokenizer.ggml.model` "llama": SentencePiece's BPE, which has scores instead of merges. Of all neighbours whose
 * concatenation is a token, the pair that makes the token with the highest score is merged first. As a list of merges, for
 * libraries that want one: each way to make a token of two others, in the order of the tokens' scores, as Hugging Face's
 * converter of such models lists them.
 */
import type { Fields } from "../fields.ts";
import { numberList, TokenKind, type Vocabulary } from "./token-lists.ts";

/** SentencePiece's sign for a space. */
const SPACE = "\u2581";

/** The parts of a tokenizer.json. `unknown` is the token for what not even bytes spell. */
export function sentencePieceTokenizer(metadata: Fields, vocabulary: Vocabulary, unknown: string | null): object {
  const scores = numberList(metadata, "tokenizer.ggml.scores", vocabulary.tokens.length);
  if (metadata.boolean("tokenizer.ggml.remove_extra_whitespaces", false)) {
    metadata.refuse("tokenizer.ggml.remove_extra_whitespaces", "spaces are kept as they are");
  }
  const prefix = metadata.boolean("tokenizer.ggml.add_space_prefix", true);
  return {
    normalizer: {
      type: "Sequence",
      normalizers: [
        ...(prefix ? [{ type: "Prepend", prepend: SPACE }] : []),
        { type: "Replace", pattern: { String: " " }, content: SPACE },
      ],
    },
    pre_tokenizer: null,
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: SPACE }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        ...(prefix ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : []),
      ],
    },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: unknown,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: Object.fromEntries(vocabulary.ids),
      merges: mergesByScore(vocabulary, scores),
    },
  };
}

/** Every pair of tokens that makes a token, the most likely token first; of one token the pair with the lowest ids first. */
export function mergesByScore({ kinds, ids }: Vocabulary, scores: readonly number[]): [string, string][] {
  const isText = (id: number | undefined) => id !== undefined && textKinds.has(kinds[id]!);
  const made: { readonly score: number; readonly pair: [string, string] }[] = [];
  for (const [token, id] of ids) {
    if (!isText(id)) continue;
    const pairs: [string, string][] = [];
    for (let cut = characterEnd(token, 0); cut < token.length; cut = characterEnd(token, cut)) {
      const [left, right] = [token.slice(0, cut), token.slice(cut)];
      if (isText(ids.get(left)) && isText(ids.get(right))) pairs.push([left, right]);
    }
    pairs.sort(([a, c], [b, d]) => ids.get(a)! - ids.get(b)! || ids.get(c)! - ids.get(d)!);
    for (const pair of pairs) made.push({ score: scores[id]!, pair });
  }
  // A stable sort: tokens of one score stay in the order of their ids.
  return made.sort((a, b) => b.score - a.score).map(({ pair }) => pair);
}

/** Text may be made of these; control tokens and bytes are never the result of a merge. */
const textKinds: ReadonlySet<number> = new Set([TokenKind.NORMAL, TokenKind.USER_DEFINED, TokenKind.UNUSED]);

function characterEnd(text: string, at: number): number {
  return at + (text.codePointAt(at)! > 0xffff ? 2 : 1);
}
