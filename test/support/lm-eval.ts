/** What lm-evaluation-harness sends to /v1/completions, and how it reads the answer (0.4.13, `local-completions`). */

/** A choice, as far as it is read. */
export interface ScoredChoice {
  readonly index: number;
  readonly logprobs: {
    readonly token_logprobs: readonly (number | null)[];
    readonly top_logprobs: readonly (Readonly<Record<string, number>> | null)[];
  };
}

/** `_create_payload(generate=False)`; older versions sent max_tokens 0. */
export function loglikelihoodRequest(prompts: readonly (readonly number[])[], model: string, maxTokens = 1) {
  return { model, prompt: prompts, temperature: 0, max_tokens: maxTokens, logprobs: 1, seed: 1234, echo: true };
}

/**
 * `parse_logprobs`: for each choice the log-likelihood of what follows `ctxlens` tokens, and whether it is what greedy
 * decoding gives. It leaves out the last entry, the generated token.
 */
export function parseLogprobs(choices: readonly ScoredChoice[], ctxlens: readonly number[]): [number, boolean][] {
  return [...choices]
    .sort((a, b) => a.index - b.index)
    .map(({ logprobs }, i) => {
      const tokens = logprobs.token_logprobs.slice(ctxlens[i]!, -1);
      const top = logprobs.top_logprobs.slice(ctxlens[i]!, -1);
      const sum = tokens.reduce<number>((total, logprob) => total + logprob!, 0);
      return [sum, tokens.every((logprob, j) => logprob === Math.max(...Object.values(top[j]!)))];
    });
}

/** `_create_payload(generate=True)`: `until` with the name of the end-of-sequence token after it. */
export function generateRequest(prompts: readonly (readonly number[])[], model: string, until: readonly string[]) {
  return { prompt: prompts, model, max_tokens: 32, temperature: 0, stop: until, seed: 1234 };
}
