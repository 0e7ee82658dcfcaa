/** Why the engine refused or gave up a request. The HTTP layer maps codes to statuses. */
export type EngineErrorCode =
  | "empty_prompt"
  | "token_out_of_range"
  | "context_overflow"
  | "cache_too_small"
  | "queue_full"
  | "queue_timeout"
  | "request_timeout"
  | "duplicate_id"
  | "step_failed"
  | "closed";

/** Codes are stable; messages are for people and carry the numbers. `cause` holds the underlying error, if any. */
export class EngineError extends Error {
  override readonly name = "EngineError";
  readonly code: EngineErrorCode;
  /** When it is worth trying again, in whole seconds, where that can be said. */
  readonly retryAfterSeconds: number | undefined;

  constructor(
    code: EngineErrorCode,
    message: string,
    { retryAfterSeconds, ...options }: ErrorOptions & { readonly retryAfterSeconds?: number } = {},
  ) {
    super(message, options);
    this.code = code;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** The catalogue: one maker for each code. */
export const engineErrors = {
  emptyPrompt: () => new EngineError("empty_prompt", "the prompt has no tokens"),

  tokenOutOfRange: (what: string, token: number, vocabSize: number) =>
    new EngineError(
      "token_out_of_range",
      `${what} is ${token}, outside the vocabulary of ${vocabSize} (0..${vocabSize - 1})`,
    ),

  contextOverflow: (promptTokens: number, limit: number, newTokens: 0 | 1) =>
    new EngineError(
      "context_overflow",
      `the prompt has ${promptTokens} tokens; the context is ${limit} tokens${
        newTokens === 0 ? "" : ", of which at least 1 must be left to generate"
      }`,
    ),

  /** Of a prompt that was not tokenised to its end. */
  farOverContext: (tokens: number, limit: number) =>
    new EngineError("context_overflow", `the prompt has more than ${tokens} tokens; the context is ${limit} tokens`),

  queueFull: (waiting: number, limit: number, retryAfterSeconds = 1) =>
    new EngineError("queue_full", `${waiting} requests wait already; ${limit} may`, { retryAfterSeconds }),

  queueTimeout: (seconds: number, retryAfterSeconds: number) =>
    new EngineError("queue_timeout", `the request waited for ${seconds} s and had not begun to run`, {
      retryAfterSeconds,
    }),

  requestTimeout: (seconds: number, tokens: number) =>
    new EngineError(
      "request_timeout",
      `the request took longer than the ${seconds} s allowed; ${tokens} tokens were made`,
    ),

  cacheTooSmall: (needed: number, total: number, positions: number, blockSize: number) =>
    new EngineError(
      "cache_too_small",
      `the request may grow to ${positions} positions: needs ${needed} blocks of ${blockSize}, the cache has ${total}`,
    ),

  duplicateId: (id: string) => new EngineError("duplicate_id", `request ${id} is running already`),

  stepFailed: (cause: unknown) =>
    new EngineError("step_failed", `the step failed: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    }),

  closed: () => new EngineError("closed", "the engine is closed"),
};
