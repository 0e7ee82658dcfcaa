import type { AttentionSettings, StepSequence, TokenLogprob, Traffic } from "../../attention/types.ts";
import type { BlockCopy } from "../../kvcache/cache-manager.ts";
import type { StuckStep } from "./watchdog.ts";

/** How a sequence's next tokens are chosen. Defaults and ranges are the HTTP layer's business. */
export interface SamplingParams {
  /** New tokens at most, >= 0. */
  readonly maxTokens: number;
  /** 0 = greedy. */
  readonly temperature: number;
  /** Nucleus mass in (0, 1]; 1 = off. */
  readonly topP: number;
  /** Keep the `topK` likeliest; 0 = off. */
  readonly topK: number;
  /** Drop tokens of less than this share of the likeliest one's probability; in [0, 1], 0 = off. Default off. */
  readonly minP?: number;
  /** Divides positive and multiplies negative logits of tokens in the prompt or the output; > 0, default 1 = off. */
  readonly repetitionPenalty?: number;
  /** Subtracted from the logits of tokens in the output; default 0 = off. */
  readonly presencePenalty?: number;
  /** Subtracted as many times as a token is in the output; default 0 = off. */
  readonly frequencyPenalty?: number;
  /** Added to logits, by token, each once; -Infinity rules a token out. Default none. */
  readonly logitBias?: ReadonlyMap<number, number>;
  /** Log-probabilities wanted: of each token, and of this many of the likeliest in its place, 0 to 20. Default none. */
  readonly logprobs?: number;
  /** Same seed and prompt, same tokens, whatever else is in the batch. Undefined: a random seed. */
  readonly seed?: number;
  /** Strings that end the text; not part of the output. */
  readonly stop: readonly string[];
  /** Tokens that end the text, beside the model's own; not part of it. Default none. */
  readonly stopTokenIds?: readonly number[];
  /** Until so many tokens are there, those that end the text are ruled out and stop strings do not count; default 0. */
  readonly minTokens?: number;
  /** Go on after an end-of-sequence token. */
  readonly ignoreEos: boolean;
}

/** One sequence to generate. `n` choices are n requests. */
export interface GenerateRequest {
  /** Unique among running requests. */
  readonly id: string;
  readonly promptIds: readonly number[];
  readonly sampling: SamplingParams;
  readonly attention: AttentionSettings;
  /**
   * Leading tokens of the prompt that attend densely; the rest attend as generated tokens do, and are not shared with other
   * requests. Default: all of them.
   */
  readonly denseTokens?: number;
  /**
   * Sequences that came together in one request: the queue takes all of them or none, and those with the same `promptIds`,
   * the very array, share its computation. Default: it came alone.
   */
  readonly batch?: string;
  /** Lower runs sooner and takes slots and blocks from higher ones; default 0. */
  readonly priority?: number;
  /** Whom the request counts against: an API key, a user. Tenants of one priority take turns. */
  readonly tenant?: string;
  /** Only requests of the same salt share cached prompts: it keeps tenants from timing each other's. */
  readonly cacheSalt?: string;
  /** Whether drafts of its tokens may be run, where the engine does so; default true. The tokens are the same either way. */
  readonly speculate?: boolean;
  readonly promptLogprobs?: PromptLogprobs;
  /** Special tokens that are part of the text, where others are left out. */
  readonly visibleTokens?: readonly number[];
  /** What the generated text must be. No drafts are run then. */
  readonly grammar?: TokenGrammar;
}

/** Makes grammars for one model's tokens. */
export interface TokenizedGrammars {
  /**
   * From EBNF, see grammar/ebnf.ts. Does not keep the event loop. Rejects with GrammarError if the grammar is too large, and
   * with Error if compiling it failed.
   */
  compile(text: string): Promise<TokenGrammar>;
  close(): Promise<void>;
}

/** Which token sequences are allowed, the model's end token included. */
export interface TokenGrammar {
  start(): TokenConstraint;
}

/** One generation's way through a grammar. */
export interface TokenConstraint {
  /** What may come next, as RowSampling.mask; null while that is being worked out. */
  readonly mask: Int32Array | null;
  /** Why there will be no more masks. */
  readonly error: Error | null;
  /** Resolves when `mask` or `error` is there. */
  settled(): Promise<void>;
  /** Takes in a token that the mask allowed, and not the end. Mutates: there is no mask then for a while. */
  accept(tokenId: number): void;
  /** Frees what it holds. Closing twice is fine. */
  close(): void;
}

/** Log-probabilities of the prompt's own tokens are wanted. The prompt is computed in full, whatever is cached. */
export interface PromptLogprobs {
  /** Of so many of the likeliest tokens in each one's place, 0 to 20. */
  readonly top: number;
  /** Called once, before the first token's event: those of promptIds[1] and on, since nothing comes before the first. */
  readonly onReady: (logprobs: readonly EventLogprobs[]) => void;
}

export type FinishReason = "stop" | "length";

/** One generated token. Exactly one event per token; the last carries the finish reason. */
export interface TokenEvent {
  readonly tokenId: number;
  /** Text that became certain with this token: may be empty while UTF-8 is incomplete or a stop string may form. */
  readonly text: string;
  readonly finishReason: FinishReason | null;
  /** If asked for: natural logarithms of the model's own probabilities, before temperature, penalties and cuts. */
  readonly logprobs?: EventLogprobs;
}

export interface EventLogprobs {
  /** Of the token. */
  readonly logprob: number;
  /** Of the likeliest tokens, the likeliest first. */
  readonly top: readonly TokenLogprob[];
}

/** What a finished request cost. */
export interface GenerationSummary {
  readonly promptTokens: number;
  /** Of these, served from the prefix cache. */
  readonly cachedPromptTokens: number;
  readonly completionTokens: number;
  /** Times that it lost its blocks and was computed again. */
  readonly preemptions: number;
}

export interface EngineStats {
  readonly running: number;
  readonly waiting: number;
  readonly blocks: { readonly total: number; readonly free: number; readonly cached: number; readonly owned: number };
  readonly steps: number;
  readonly preemptions: number;
  /** Prompt tokens of the requests that have started, and how many of them the prefix cache served. */
  readonly promptTokens: number;
  readonly cachedPromptTokens: number;
  readonly generatedTokens: number;
  /** There while a step takes longer than it should. */
  readonly stuckStep?: StuckStep;
  /** Drafts that were run, their tokens, and how many of these came true: each of them saved a step of its sequence. */
  readonly drafts: number;
  readonly draftTokens: number;
  readonly acceptedDraftTokens: number;
  readonly traffic: Traffic;
}

export interface Engine {
  /**
   * Queues a request and yields its tokens. Leaving the loop, or aborting the signal, frees its blocks within a step.
   * Throws EngineError "context_overflow" (prompt + 1 over the context), "token_out_of_range", "cache_too_small",
   * "empty_prompt", "queue_full" before anything runs, "closed" after close(), "queue_timeout" and "request_timeout" when
   * time is up; a failed step rejects the requests that were in it.
   */
  generate(request: GenerateRequest, signal?: AbortSignal): AsyncGenerator<TokenEvent, GenerationSummary, void>;
  stats(): EngineStats;
  /** Ends running requests with an error, waits for the step in flight, frees the session. */
  close(): Promise<void>;
}

/** What the scheduler wants run next: plain data, made without touching a model. */
export interface StepPlan {
  readonly sequences: readonly PlannedSequence[];
  /** Requests that lost their blocks to make room and wait to be recomputed. */
  readonly preempted: readonly string[];
  /** Blocks of the store to copy before the step, in this order. */
  readonly copies: readonly BlockCopy[];
}

export interface PlannedSequence extends StepSequence {
  readonly requestId: string;
  /** The last of its tokens, if these are guesses that the step is to check; all its rows are sampled then. */
  readonly draft?: readonly number[];
}

/** Token ids to text and back. Ids are the model's; text never contains half a character. */
export interface Tokenizer {
  readonly vocabSize: number;
  readonly bosTokenId: number | undefined;
  readonly eosTokenIds: readonly number[];
  /** What its files say about it. */
  readonly info: TokenizerInfo;
  /** Throws EngineError "context_overflow" if `contextLength` is given and the text is far over it. */
  encode(text: string, options?: EncodeOptions): number[];
  decode(ids: readonly number[], options?: { skipSpecialTokens?: boolean }): string;
  /** The special token that is spelled like this, if one is. Looks it up. */
  specialToken(text: string): number | undefined;
  /** The bytes that a token adds within a text: may be a part of a character. A special token's are its spelling's. */
  tokenBytes(id: number): Uint8Array;
  /**
   * Renders the chat template. Throws ChatTemplateError for none, or with the template's own message, and EngineError as
   * `encode` does.
   */
  applyChatTemplate(messages: readonly ChatMessage[], options: ChatTemplateOptions): number[];
}

export interface TokenizerInfo {
  readonly tokenizerClass: string | undefined;
  /** bos_token, eos_token, ... and how they are spelled. */
  readonly namedTokens: Readonly<Record<string, string>>;
  /** In Jinja. */
  readonly chatTemplate: string | undefined;
}

export interface EncodeOptions {
  /** What the tokenizer puts around a text, a BOS for one; default true. */
  readonly addSpecialTokens?: boolean;
  /** Special tokens that the text spells become those tokens; by default they stay text. */
  readonly parseSpecial?: boolean;
  /** Refuse what is far longer than so many tokens, without tokenising all of it. */
  readonly contextLength?: number;
}

export interface ChatTemplateOptions {
  /** Ask for the beginning of the assistant's answer. */
  readonly addGenerationPrompt: boolean;
  /** What the template is to offer to the model, as the API has them. */
  readonly tools?: readonly unknown[];
  /** Text of the assistant's answer to go on from; special tokens that it spells are those tokens. */
  readonly answer?: string;
  /** As in EncodeOptions, of the rendered text. */
  readonly contextLength?: number;
}

export interface ChatMessage {
  /** "developer", OpenAI's new name for it, is "system" to templates that do not know it. */
  readonly role: string;
  readonly content: string;
  /** Who speaks; few templates show it. */
  readonly name?: string;
  /** Further fields, tool calls for one, are for the template. */
  readonly [field: string]: unknown;
}
