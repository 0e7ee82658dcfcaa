import { readFileSync } from "node:fs";
import { RandomStream } from "../../server/engine/random.ts";
import type { TokenConstraint } from "../../server/engine/types.ts";
import { GrammarService } from "../../server/grammar/service.ts";
import { grammarVocabulary } from "../../server/grammar/vocabulary.ts";
import { createTokenizer } from "../../server/tokenizer.ts";

const read = (name: string) =>
  JSON.parse(readFileSync(new URL(`../../models/builtin/tiny-llama/${name}`, import.meta.url), "utf8"));
export const tokenizer = createTokenizer({
  tokenizerJson: read("tokenizer.json"),
  tokenizerConfig: read("tokenizer_config.json"),
});
/** With the tokens of tiny-llama. To be closed by who uses it. */
export const grammars = new GrammarService({ vocabulary: () => grammarVocabulary(tokenizer, tokenizer.vocabSize + 7) });
export const END = tokenizer.eosTokenIds[0]!;
export const allowed = (mask: Int32Array, token: number) => ((mask[token >> 5]! >> (token & 31)) & 1) === 1;

export async function maskOf(constraint: TokenConstraint): Promise<Int32Array> {
  await constraint.settled();
  if (constraint.error) throw constraint.error;
  return constraint.mask!;
}

/** Whether the grammar allows the text, token by token, and may end after it. */
export async function accepts(grammar: string, text: string): Promise<boolean> {
  const constraint = (await grammars.compile(grammar)).start();
  try {
    for (const token of tokenizer.encode(text, { addSpecialTokens: false })) {
      if (!allowed(await maskOf(constraint), token)) return false;
      constraint.accept(token);
    }
    return allowed(await maskOf(constraint), END);
  } finally {
    constraint.close();
  }
}

/** A text of tokens drawn evenly from what is allowed; the end, once it is allowed, half the time. Null if it got long. */
export async function sample(grammar: string, seed: number, most = 300): Promise<string | null> {
  const random = new RandomStream(seed);
  const constraint = (await grammars.compile(grammar)).start();
  const tokens: number[] = [];
  try {
    while (tokens.length < most) {
      const mask = await maskOf(constraint);
      const choices = Array.from({ length: tokenizer.vocabSize }, (_, id) => id).filter((id) => allowed(mask, id));
      if (choices.length === 0) throw new Error(`nothing may follow ${tokenizer.decode(tokens)}`);
      const may = allowed(mask, END) && (choices.length === 1 || random.uniform(2 * tokens.length) < 0.5);
      // What closes things is preferred, so that texts end.
      const closing = choices.filter((id) => /^["}\]]+$/.test(tokenizer.decode([id])));
      const pool =
        closing.length > 0 && random.uniform(2 * tokens.length) < 0.4 ? closing : choices.filter((id) => id !== END);
      if (may) return tokenizer.decode(tokens);
      const token = pool[Math.floor(random.uniform(2 * tokens.length + 1) * pool.length)]!;
      tokens.push(token);
      constraint.accept(token);
    }
    return null;
  } finally {
    constraint.close();
  }
}
