import { ModelError } from "../errors.ts";
import type { Fields } from "../fields.ts";
import type { TokenizerFiles } from "../types.ts";
import type { GgufFile } from "./reader.ts";

/** tokenizer.ggml.token_type */
const CONTROL = 3;
const USER_DEFINED = 4;

/** GPT-2's: words with their leading space, numbers, other signs, runs of spaces; byte by byte. */
const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };

/** What the model's own file calls Digits: anything numeric, while the JavaScript library's Digits knows 0 to 9 only. */
const singleDigits = { type: "Split", pattern: { Regex: "\\p{N}" }, behavior: "Isolated", invert: false };

/**
 * tokenizer.ggml.pre: how text is cut before merging, as tokenizer.json says it. Only those that were checked against the
 * tokenizer.json of a model that they come from (smollm), or that are ByteLevel itself (gpt-2).
 */
const preTokenizers: Readonly<Record<string, object>> = {
  smollm: { type: "Sequence", pretokenizers: [singleDigits, byteLevel] },
  "gpt-2": byteLevel,
};

/**
 * The tokenizer in a GGUF file's metadata, in the form of Hugging Face's files, for @huggingface/tokenizers.
 * @throws ModelError "unsupported_config" for a model or pre-tokenizer that is not known, or damaged lists, naming the key
 */
export function ggufTokenizer({ metadata }: GgufFile): TokenizerFiles {
  metadata.choice("tokenizer.ggml.model", ["gpt2"]);
  const pre = metadata.choice("tokenizer.ggml.pre", Object.keys(preTokenizers));
  const tokens = list(metadata, "tokenizer.ggml.tokens", "string");
  const types = list(metadata, "tokenizer.ggml.token_type", "number");
  const merges = list(metadata, "tokenizer.ggml.merges", "string");
  if (types.length !== tokens.length) {
    throw new ModelError(
      "file_invalid",
      `${metadata.source}: ${types.length} tokenizer.ggml.token_type for ${tokens.length} tokenizer.ggml.tokens`,
    );
  }
  const added = tokens.flatMap((content, id) => {
    const type = types[id];
    if (type !== CONTROL && type !== USER_DEFINED) return [];
    const exact = { single_word: false, lstrip: false, rstrip: false, normalized: false };
    return [{ id, content, ...exact, special: type === CONTROL }];
  });
  const tokenizerJson = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: added,
    normalizer: null,
    pre_tokenizer: preTokenizers[pre],
    post_processor: null,
    decoder: { ...byteLevel, add_prefix_space: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: merges.map((merge) => pairOf(merge, metadata)),
    },
  };
  const chatTemplate = metadata.values["tokenizer.chat_template"];
  return {
    tokenizerJson,
    tokenizerConfig: tokenizerConfig(metadata, tokens),
    ...(typeof chatTemplate === "string" ? { chatTemplate } : {}),
  };
}

function tokenizerConfig(metadata: Fields, tokens: readonly string[]): Record<string, unknown> {
  const names = { bos_token: "bos", eos_token: "eos", unk_token: "unknown", pad_token: "padding" };
  const named = Object.entries(names).flatMap(([name, key]) => {
    const field = `tokenizer.ggml.${key}_token_id`;
    const id = metadata.tokenIds(field, [])[0];
    if (id === undefined) return [];
    if (id >= tokens.length) metadata.refuse(field, `there are ${tokens.length} tokens`);
    return [[name, tokens[id]]];
  });
  return {
    ...Object.fromEntries(named),
    add_bos_token: metadata.boolean("tokenizer.ggml.add_bos_token", false),
    clean_up_tokenization_spaces: false,
  };
}

function list<T extends "string" | "number">(
  metadata: Fields,
  name: string,
  type: T,
): (T extends "string" ? string : number)[] {
  const value = metadata.values[name];
  if (!Array.isArray(value) || !value.every((entry) => typeof entry === type)) {
    const found = Array.isArray(value) ? "a list of something else" : typeof value;
    throw new ModelError("file_invalid", `${metadata.source}: ${name} is ${found}; a list of ${type}s was expected`);
  }
  return value;
}

/** A merge is two tokens with a space between; byte-level tokens hold no space themselves. */
function pairOf(merge: string, metadata: Fields): [string, string] {
  const space = merge.indexOf(" ");
  if (space <= 0 || space === merge.length - 1) {
    throw new ModelError("file_invalid", `${metadata.source}: tokenizer.ggml.merges has ${JSON.stringify(merge)}`);
  }
  return [merge.slice(0, space), merge.slice(space + 1)];
}
