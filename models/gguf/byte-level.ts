import { ModelError } from "../errors.ts";
import type { Fields } from "../fields.ts";
import { type PreTokenizer, preTokenizerJson } from "./pre-tokenizers.ts";
import { stringList, type Vocabulary } from "./token-lists.ts";

/** `tokenizer.ggml.model` "gpt2": byte-level BPE with a list of merges. The parts of a tokenizer.json. */
export function byteLevelTokenizer(metadata: Fields, vocabulary: Vocabulary, pre: PreTokenizer): object {
  const merges = stringList(metadata, "tokenizer.ggml.merges");
  return {
    normalizer: pre.composes ? { type: "NFC" } : null,
    pre_tokenizer: preTokenizerJson(pre),
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: pre.ignoresMerges ?? false,
      vocab: Object.fromEntries(vocabulary.ids),
      merges: merges.map((merge, rank) => pairOf(merge, rank, vocabulary, metadata)),
    },
  };
}

/** A merge is two tokens with a space between, which together are a third; byte-level tokens hold no space themselves. */
function pairOf(merge: string, rank: number, { ids }: Vocabulary, metadata: Fields): [string, string] {
  const space = merge.indexOf(" ");
  const [left, right] = [merge.slice(0, space), merge.slice(space + 1)];
  if (space > 0 && ids.has(left) && ids.has(right) && ids.has(left + right)) return [left, right];
  throw new ModelError(
    "file_invalid",
    `${metadata.source}: tokenizer.ggml.merges has ${JSON.stringify(merge)} at ${rank}, which is no pair of tokens that make a token`,
  );
}
