import type { Fields } from "../fields.ts";
import type { TokenizerFiles } from "../types.ts";
import { byteLevelTokenizer } from "./byte-level.ts";
import { preTokenizers } from "./pre-tokenizers.ts";
import type { GgufFile } from "./reader.ts";
import { sentencePieceTokenizer } from "./sentencepiece.ts";
import { addedTokens, readVocabulary, type Vocabulary } from "./token-lists.ts";

/**
 * The tokenizer in a GGUF file's metadata, in the form of Hugging Face's files, for @huggingface/tokenizers.
 * @throws ModelError "unsupported_config" for a model or pre-tokenizer that is not known, "file_invalid" for damaged lists,
 *   naming the key
 */
export function ggufTokenizer({ metadata }: GgufFile): TokenizerFiles {
  const model = metadata.choice("tokenizer.ggml.model", ["gpt2", "llama"]);
  const pre =
    model === "gpt2" ? preTokenizers[metadata.choice("tokenizer.ggml.pre", Object.keys(preTokenizers))] : undefined;
  const vocabulary = readVocabulary(metadata);
  const named = namedTokens(metadata, vocabulary);
  const parts = pre
    ? byteLevelTokenizer(metadata, vocabulary, pre)
    : sentencePieceTokenizer(metadata, vocabulary, named.unk_token ?? null);
  const chatTemplate = metadata.values["tokenizer.chat_template"];
  if (chatTemplate !== undefined && typeof chatTemplate !== "string") {
    metadata.refuse("tokenizer.chat_template", "it must be a text");
  }
  return {
    tokenizerJson: {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: addedTokens(vocabulary, metadata.source),
      post_processor: endingWith(metadata, named.eos_token, vocabulary),
      ...parts,
    },
    tokenizerConfig: {
      ...named,
      add_bos_token: addsBos(metadata, pre ? (pre.addsBos ?? false) : true, named.bos_token),
      clean_up_tokenization_spaces: false,
    },
    ...(typeof chatTemplate === "string" ? { chatTemplate } : {}),
  };
}

/** bos_token and the like, as tokenizer_config.json has them. */
function namedTokens(metadata: Fields, { tokens }: Vocabulary): Record<string, string> {
  const names = { bos_token: "bos", eos_token: "eos", unk_token: "unknown", pad_token: "padding" };
  const named = Object.entries(names).flatMap(([name, key]) => {
    const field = `tokenizer.ggml.${key}_token_id`;
    const id = metadata.tokenIds(field, [])[0];
    if (id === undefined) return [];
    if (id >= tokens.length) metadata.refuse(field, `there are ${tokens.length} tokens`);
    return [[name, tokens[id]!]];
  });
  return Object.fromEntries(named);
}

/** Whether texts begin with BOS. Without a word about it, a model that has none goes without. */
function addsBos(metadata: Fields, usually: boolean, bos: string | undefined): boolean {
  const adds = metadata.boolean("tokenizer.ggml.add_bos_token", usually && bos !== undefined);
  if (adds && bos === undefined) metadata.refuse("tokenizer.ggml.bos_token_id", "add_bos_token asks for one");
  return adds;
}

/** tokenizer.json's way to say that EOS follows a text; null if nothing does. */
function endingWith(metadata: Fields, eos: string | undefined, { ids }: Vocabulary): object | null {
  if (!metadata.boolean("tokenizer.ggml.add_eos_token", false)) return null;
  if (eos === undefined) metadata.refuse("tokenizer.ggml.eos_token_id", "add_eos_token asks for one");
  const text = (id: string) => ({ Sequence: { id, type_id: 0 } });
  const end = { SpecialToken: { id: eos, type_id: 0 } };
  return {
    type: "TemplateProcessing",
    single: [text("A"), end],
    pair: [text("A"), end, text("B"), end],
    special_tokens: { [eos]: { id: eos, ids: [ids.get(eos)], tokens: [eos] } },
  };
}
