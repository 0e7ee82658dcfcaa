import { ModelError } from "../errors.ts";
import type { Fields } from "../fields.ts";

/** tokenizer.ggml.token_type */
export const TokenKind = { NORMAL: 1, UNKNOWN: 2, CONTROL: 3, USER_DEFINED: 4, UNUSED: 5, BYTE: 6 } as const;

/** A GGUF's vocabulary: what each id spells, and what kind of token it is. */
export interface Vocabulary {
  readonly tokens: readonly string[];
  readonly kinds: readonly number[];
  /** By spelling. */
  readonly ids: ReadonlyMap<string, number>;
}

/** Far above what vocabularies have: what is made of a token may grow with the square of its length. */
const LONGEST_TOKEN = 512;
const MOST_ADDED_CHARACTERS = 1_000_000;

/** @throws ModelError "file_invalid" for lists that are absent, of something else or of different lengths */
export function readVocabulary(metadata: Fields): Vocabulary {
  const tokens = stringList(metadata, "tokenizer.ggml.tokens");
  const long = tokens.findIndex((token) => token.length > LONGEST_TOKEN);
  if (long >= 0) {
    throw new ModelError(
      "file_invalid",
      `${metadata.source}: tokenizer.ggml.tokens has a token of ${tokens[long]!.length} characters at ${long}, at most ${LONGEST_TOKEN} are known`,
    );
  }
  const kinds = numberList(metadata, "tokenizer.ggml.token_type", tokens.length);
  const ids = new Map<string, number>();
  for (const [id, token] of tokens.entries()) {
    const first = ids.get(token);
    if (first !== undefined) {
      throw new ModelError(
        "file_invalid",
        `${metadata.source}: tokenizer.ggml.tokens has ${JSON.stringify(token)} at ${first} and at ${id}`,
      );
    }
    ids.set(token, id);
  }
  return { tokens, kinds, ids };
}

export function stringList(metadata: Fields, name: string): string[] {
  return list(metadata, name, "strings", (entry) => typeof entry === "string");
}

/** One finite number for each of `count` tokens. */
export function numberList(metadata: Fields, name: string, count: number): number[] {
  const numbers = list<number>(metadata, name, "numbers", Number.isFinite);
  if (numbers.length === count) return numbers;
  throw new ModelError(
    "file_invalid",
    `${metadata.source}: ${numbers.length} ${name} for ${count} tokenizer.ggml.tokens`,
  );
}

function list<T>(metadata: Fields, name: string, of: string, fits: (entry: unknown) => boolean): T[] {
  const value = metadata.values[name];
  if (Array.isArray(value) && value.every(fits)) return value;
  const found = Array.isArray(value) ? "a list of something else" : typeof value;
  throw new ModelError("file_invalid", `${metadata.source}: ${name} is ${found}; a list of ${of} was expected`);
}

/** tokenizer.json's added_tokens: what is cut out of a text by its spelling before anything else. */
export function addedTokens({ tokens, kinds }: Vocabulary, source: string): object[] {
  const added = tokens.flatMap((content, id) => {
    const kind = kinds[id];
    const special = kind === TokenKind.CONTROL || kind === TokenKind.UNKNOWN;
    if (!special && kind !== TokenKind.USER_DEFINED) return [];
    return [{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special }];
  });
  const characters = added.reduce((sum, { content }) => sum + content.length, 0);
  if (characters <= MOST_ADDED_CHARACTERS) return added;
  throw new ModelError(
    "file_invalid",
    `${source}: the ${added.length} tokens that tokenizer.ggml.token_type calls special or added have ${characters} characters, at most ${MOST_ADDED_CHARACTERS} are known`,
  );
}
