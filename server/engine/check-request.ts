import { engineErrors } from "./errors.ts";
import type { GenerateRequest } from "./types.ts";

/**
 * Checks what a request asks of a model with so many tokens, in contexts of at most `limit`. Throws EngineError "empty_prompt",
 * "context_overflow" or "token_out_of_range".
 */
export function checkRequest({ promptIds, sampling }: GenerateRequest, limit: number, vocabSize: number): void {
  if (promptIds.length === 0) throw engineErrors.emptyPrompt();
  const newTokens = sampling.maxTokens === 0 ? 0 : 1;
  if (promptIds.length + newTokens > limit) throw engineErrors.contextOverflow(promptIds.length, limit, newTokens);
  checkTokens("prompt token", promptIds, vocabSize);
  checkTokens("stop token", sampling.stopTokenIds ?? [], vocabSize);
  checkTokens("biased token", sampling.logitBias?.keys() ?? [], vocabSize);
}

function checkTokens(what: string, tokens: Iterable<number>, vocabSize: number): void {
  let index = 0;
  for (const token of tokens) {
    const known = Number.isInteger(token) && token >= 0 && token < vocabSize;
    if (!known) throw engineErrors.tokenOutOfRange(`${what} ${index}`, token, vocabSize);
    index += 1;
  }
}
