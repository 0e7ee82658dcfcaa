import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import type { ModelConfig, TokenizerFiles } from "../models/types.ts";
import { ChatTemplate, ChatTemplateError } from "./chat-template.ts";
import type { ChatMessage, ChatTemplateOptions, EncodeOptions, Tokenizer, TokenizerInfo } from "./engine/types.ts";
import { refuseFarTooLong } from "./prompts/length.ts";
import { SpecialSpellings, unusedMark, wellFormed } from "./special-tokens.ts";
import { byteSpelling } from "./token-bytes.ts";

export { ChatTemplateError } from "./chat-template.ts";

/** What a model's config says about its tokens. */
export type TokenizerIds = Pick<ModelConfig, "bosTokenId" | "eosTokenIds">;

/**
 * The tokenizer of a model. `config` adds the model's own bos and eos ids to those that the tokenizer's files name.
 * Throws Error if the files describe no tokenizer that @huggingface/tokenizers knows; an unreadable chat template is
 * reported when it is used, since all else works without it.
 */
export function createTokenizer(files: TokenizerFiles, config?: TokenizerIds): Tokenizer {
  return new ModelTokenizer(files, config);
}

/** What is used of the library's tokenizer: its own declarations do not resolve under Node's module rules. */
interface LibraryTokenizer {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] };
  decode(ids: readonly number[], options: { clean_up_tokenization_spaces: boolean }): string;
  id_to_token(id: number): string | undefined;
  token_to_id(token: string): number | undefined;
  /** tokenizer.json, of which nothing is read once the tables are made. */
  tokenizer: object | undefined;
  readonly normalizer: object | null;
  /** Cuts a piece of text between added tokens into what the model tokenises one by one. */
  pre_tokenizer: ((text: string, options: unknown) => string[]) | null;
  readonly model: {
    readonly vocab: readonly string[];
    readonly tokens_to_ids: ReadonlyMap<string, number>;
    /** tokenizer.json's "model". */
    config: Readonly<Record<string, unknown>>;
    /** Of a "BPE", whose ranks are in a table. */
    merges?: unknown;
    _call(pieces: string[]): string[];
  };
  readonly decoder: LibraryDecoder | null;
}

interface LibraryDecoder {
  readonly config: { readonly type: string };
  /** Of a "Sequence". */
  readonly decoders?: readonly LibraryDecoder[];
  /** Of "ByteFallback": turns a run of byte tokens into text. */
  text_decoder?: { decode(bytes: Uint8Array): string };
}

/** An entry of tokenizer.json's `added_tokens`. */
interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special?: boolean;
  readonly lstrip?: boolean;
  readonly rstrip?: boolean;
}

class ModelTokenizer implements Tokenizer {
  readonly vocabSize: number;
  readonly bosTokenId: number | undefined;
  readonly eosTokenIds: readonly number[];
  readonly info: TokenizerInfo;
  readonly #inner: LibraryTokenizer;
  /** By spelling. */
  readonly #specials: ReadonlyMap<string, number>;
  readonly #specialIds: ReadonlySet<number>;
  /** What the tokens that were added to the vocabulary spell, by id. */
  readonly #added: ReadonlyMap<number, string>;
  readonly #bytesOf: (token: string) => Uint8Array | null;
  readonly #spellings: SpecialSpellings;
  /** What tokenizer_config.json says about adding a BOS; undefined leaves it to tokenizer.json's post-processor. */
  readonly #addBos: boolean | undefined;
  /** Characters that one token stands for at most; null where text may vanish before it is cut into tokens. */
  readonly #longestToken: number | null;
  #parsedTemplate: ChatTemplate | undefined;
  /** The mark in the text being encoded. */
  #mark = "";

  constructor(files: TokenizerFiles, config: TokenizerIds | undefined) {
    const inner: LibraryTokenizer = new HuggingFaceTokenizer(withAllDigits(files.tokenizerJson), files.tokenizerConfig);
    dropSources(inner);
    const { model, pre_tokenizer: split } = inner;
    const idOf = (token: string | undefined) => (token === undefined ? undefined : inner.token_to_id(token));
    const named = namedTokens(files.tokenizerConfig);
    const eosOfTokenizer = idOf(named.eos_token);

    this.#inner = inner;
    const { tokenizer_class: tokenizerClass } = files.tokenizerConfig;
    this.info = {
      tokenizerClass: typeof tokenizerClass === "string" ? tokenizerClass : undefined,
      namedTokens: named,
      chatTemplate: files.chatTemplate,
    };
    this.vocabSize = model.vocab.length;
    this.bosTokenId = config?.bosTokenId ?? idOf(named.bos_token);
    this.eosTokenIds = [
      ...new Set([...(config?.eosTokenIds ?? []), ...(eosOfTokenizer === undefined ? [] : [eosOfTokenizer])]),
    ];
    const addBos = files.tokenizerConfig.add_bos_token;
    this.#addBos = typeof addBos === "boolean" ? addBos : undefined;

    const added = (files.tokenizerJson.added_tokens ?? []) as readonly AddedToken[];
    const specialByName = new Set([...Object.values(named), ...additionalSpecialTokens(files.tokenizerConfig)]);
    const specialById = new Set([this.bosTokenId, ...this.eosTokenIds]);
    const special = added.filter((t) => t.special || specialByName.has(t.content) || specialById.has(t.id));
    const specials = new Map(special.map((token) => [token.content, token.id]));
    this.#specials = specials;
    this.#specialIds = new Set(specials.values());
    this.#added = new Map(added.map(({ id, content }) => [id, content]));
    this.#bytesOf = byteSpelling(inner.decoder);
    this.#spellings = new SpecialSpellings(specials.keys());

    const strips = added.some(({ lstrip, rstrip }) => lstrip || rstrip);
    const shrinks = inner.normalizer !== null || tokenizerUsesUnknown(files.tokenizerJson) || strips;
    this.#longestToken = shrinks ? null : longest(model.vocab);

    const splitWords = wordSplitter(model.vocab);
    inner.pre_tokenizer = (text, splitOptions) => {
      const clean = text.replaceAll(this.#mark, "");
      return splitWords(split === null ? [clean] : split(clean, splitOptions));
    };
    useExactByteFallback(inner.decoder);
    // Merges may lead to a special token too: spell out what the model made of plain text.
    const tokenize = model._call.bind(model);
    model._call = (pieces) =>
      tokenize(pieces).flatMap((token) => (specials.has(token) ? spellOut(token, model.tokens_to_ids) : [token]));
  }

  encode(text: string, options: EncodeOptions = {}): number[] {
    const { addSpecialTokens = true, parseSpecial = false, contextLength } = options;
    const clean = wellFormed(text);
    const mark = unusedMark([clean]);
    this.#refuseFarTooLong(clean, contextLength);
    return this.#encodeMarked(parseSpecial ? clean : this.#spellings.breakIn(clean, mark), mark, addSpecialTokens);
  }

  decode(ids: readonly number[], options: { skipSpecialTokens?: boolean } = {}): string {
    const known = ids.filter(
      (id) => this.#inner.id_to_token(id) !== undefined && !(options.skipSpecialTokens && this.#specialIds.has(id)),
    );
    if (known.length === 0) return "";
    // The "clean up" of spaces before punctuation would make text that the model did not write.
    return this.#inner.decode(known, { clean_up_tokenization_spaces: false });
  }

  tokenBytes(id: number): Uint8Array {
    const token = this.#inner.id_to_token(id);
    if (token === undefined) return new Uint8Array();
    const added = this.#added.get(id);
    const bytes = added === undefined ? this.#bytesOf(token) : null;
    // Decoders drop the space that a first token begins with: the second of two has it.
    return bytes ?? new TextEncoder().encode(added ?? this.decode([id, id]).slice(this.decode([id]).length));
  }

  specialToken(text: string): number | undefined {
    return this.#specials.get(text);
  }

  applyChatTemplate(messages: readonly ChatMessage[], options: ChatTemplateOptions): number[] {
    const template = this.#template();
    const { tools, answer = "" } = options;
    const { chatTemplate = "", namedTokens } = this.info;
    const knowsDeveloper = chatTemplate.includes("developer");
    const renamed = messages.map((message) => {
      return message.role === "developer" && !knowsDeveloper ? { ...message, role: "system" } : message;
    });
    const texts: string[] = [];
    const clean = withTexts({ messages: renamed, tools }, (text) => {
      const whole = wellFormed(text);
      texts.push(whole);
      return whole;
    });
    const mark = unusedMark([chatTemplate, answer, ...texts]);
    const given = withTexts(clean, (text) => this.#spellings.breakIn(text, mark));
    const rendered = template.render({
      ...namedTokens,
      messages: given.messages,
      add_generation_prompt: options.addGenerationPrompt,
      // Defined but none, as transformers has them.
      tools: given.tools ?? null,
      documents: null,
    });
    const marked = wellFormed(rendered) + answer;
    this.#refuseFarTooLong(marked.replaceAll(mark, ""), options.contextLength);
    // As in transformers, the template alone decides on a BOS.
    return this.#encodeMarked(marked, mark, false);
  }

  #template(): ChatTemplate {
    const { chatTemplate } = this.info;
    if (chatTemplate === undefined) {
      throw new ChatTemplateError("the model has no chat template; send its prompt to /v1/completions instead");
    }
    this.#parsedTemplate ??= new ChatTemplate(chatTemplate);
    return this.#parsedTemplate;
  }

  #refuseFarTooLong(text: string, contextLength: number | undefined): void {
    if (contextLength === undefined) return;
    // Without marks a special token that the text spells counts as one: never more than there will be.
    const count = (part: string) => this.#encodeMarked(part, unusedMark([part]), false).length;
    refuseFarTooLong(text, count, contextLength, this.#longestToken);
  }

  #encodeMarked(text: string, mark: string, addSpecialTokens: boolean): number[] {
    this.#mark = mark;
    const { ids } = this.#inner.encode(text, { add_special_tokens: addSpecialTokens });
    const bos = this.bosTokenId;
    if (!addSpecialTokens || bos === undefined || this.#addBos === undefined) return ids;
    if (this.#addBos && ids[0] !== bos) return [bos, ...ids];
    if (!this.#addBos && ids[0] === bos) return ids.slice(1);
    return ids;
  }
}

/** Lets go of the parsed tokenizer.json: its vocabulary and merges are in tables of the library's by now, and as large again. */
function dropSources(inner: LibraryTokenizer): void {
  const { vocab: _vocab, merges: _merges, ...rest } = inner.model.config;
  inner.model.config = rest;
  inner.model.merges = undefined;
  inner.tokenizer = undefined;
}

/**
 * A tokenizer.json whose pre-tokenizer cuts out all that Unicode calls numeric, as Hugging Face's Digits does ("½", "٣"): the
 * library's knows 0 to 9 alone.
 */
function withAllDigits(tokenizerJson: Record<string, unknown>): Record<string, unknown> {
  type Cutter = { readonly type: string; readonly individual_digits?: boolean; readonly pretokenizers?: Cutter[] };
  const exact = (cutter: Cutter): object => {
    if (cutter.pretokenizers) return { ...cutter, pretokenizers: cutter.pretokenizers.map(exact) };
    if (cutter.type !== "Digits") return cutter;
    const Regex = cutter.individual_digits ? "\\p{N}" : "\\p{N}+";
    return { type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false };
  };
  const { pre_tokenizer: cutter } = tokenizerJson;
  return cutter ? { ...tokenizerJson, pre_tokenizer: exact(cutter as Cutter) } : tokenizerJson;
}

/** A copy of plain data with all its texts changed, the keys of objects too. */
function withTexts<T>(value: T, change: (text: string) => string): T {
  if (typeof value === "string") return change(value) as T;
  if (Array.isArray(value)) return value.map((item) => withTexts(item, change)) as T;
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [change(key), withTexts(item, change)])) as T;
}

/**
 * SentencePiece tokenizers take a whole section as one word, and merging takes time that grows faster than its length. If
 * no token holds the space mark after another character, no merge crosses the start of a word: the words alone give the
 * same tokens.
 */
function wordSplitter(vocab: readonly string[]): (pieces: string[]) => string[] {
  const marksSpaces = vocab.some((token) => token.startsWith("\u2581"));
  if (!marksSpaces || vocab.some((token) => /[^\u2581]\u2581/.test(token))) return (pieces) => pieces;
  return (pieces) => pieces.flatMap((piece) => piece.split(/(?<=[^\u2581])(?=\u2581)/));
}

/**
 * Decodes runs of byte tokens as Hugging Face's own implementation does: a byte order mark is text, and a run that is no
 * UTF-8 becomes one replacement character a byte.
 */
function useExactByteFallback(decoder: LibraryDecoder | null): void {
  for (const part of decoder?.decoders ?? []) useExactByteFallback(part);
  if (decoder?.config.type !== "ByteFallback") return;
  const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  decoder.text_decoder = {
    decode(bytes) {
      try {
        return strict.decode(bytes);
      } catch {
        return "\ufffd".repeat(bytes.length);
      }
    },
  };
}

/** Whether text that has no token of its own may become one of unknown text, which stands for any number of characters. */
function tokenizerUsesUnknown(tokenizerJson: Record<string, unknown>): boolean {
  const model = tokenizerJson.model as { unk_token?: unknown; byte_fallback?: boolean } | undefined;
  return typeof model?.unk_token === "string" && model.byte_fallback !== true;
}

function longest(texts: readonly string[]): number {
  return texts.reduce((most, text) => Math.max(most, text.length), 1);
}

/** `token` as its characters, or their bytes where the vocabulary has no such character. */
function spellOut(token: string, ids: ReadonlyMap<string, number>): string[] {
  const bytesOf = (character: string) =>
    Array.from(
      new TextEncoder().encode(character),
      (byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`,
    );
  return Array.from(token).flatMap((character) => (ids.has(character) ? [character] : bytesOf(character)));
}

/** bos_token, eos_token, ... of tokenizer_config.json, which writes a token as a string or as an object. */
function namedTokens(tokenizerConfig: Record<string, unknown>): Record<string, string> {
  const names = ["bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"];
  const entries = names.map((name) => [name, contentOf(tokenizerConfig[name])] as const);
  return Object.fromEntries(entries.filter((entry): entry is [string, string] => entry[1] !== undefined));
}

function additionalSpecialTokens(tokenizerConfig: Record<string, unknown>): string[] {
  const listed = tokenizerConfig.additional_special_tokens ?? tokenizerConfig.extra_special_tokens;
  return Array.isArray(listed) ? listed.map(contentOf).filter((content) => content !== undefined) : [];
}

function contentOf(token: unknown): string | undefined {
  if (typeof token === "string") return token;
  const content = (token as { content?: unknown } | null | undefined)?.content;
  return typeof content === "string" ? content : undefined;
}
