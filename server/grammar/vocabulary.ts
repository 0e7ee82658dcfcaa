import type { Tokenizer } from "../engine/types.ts";
import { spellByteLevel } from "../token-bytes.ts";
import type { GrammarWorkerData } from "./messages.ts";

/** A model's tokens for grammars. `vocabSize` is that of the logits; ids beyond the tokenizer's have no token. */
export function grammarVocabulary(tokenizer: Tokenizer, vocabSize: number): GrammarWorkerData {
  const endTokenIds = tokenizer.eosTokenIds.filter((id) => id < vocabSize);
  const vocabulary = Array.from({ length: vocabSize }, (_, id) => {
    if (id >= tokenizer.vocabSize || endTokenIds.includes(id)) return "";
    // Special tokens, and those that nothing is seen of, are no part of a text.
    if (tokenizer.decode([id, id], { skipSpecialTokens: true }) === "") return "";
    return spellByteLevel(tokenizer.tokenBytes(id));
  });
  return { vocabulary, endTokenIds };
}
