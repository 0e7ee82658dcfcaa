import type { ChoiceEvent } from "./choices.ts";
import type { GenerateRequest, GenerationSummary } from "./engine/types.ts";
import { usageOf } from "./requests.ts";

/** Counts an answer's tokens as they pass, for its usage and the log. */
export class AnswerTally {
  private readonly started = performance.now();
  private firstToken: number | null = null;
  private readonly tokens = { prompt: 0, cached: 0, completion: 0 };
  private readonly finishReasons = new Map<number, string>();
  private readonly sequences: number;
  /** Of each prompt, the first of its sequences: the others find in the cache what that one put there. */
  private readonly firsts: ReadonlySet<number>;

  /** `promptTokens`: of all prompts, each counted once. */
  constructor(promptTokens: number, requests: readonly Pick<GenerateRequest, "promptIds">[]) {
    this.tokens.prompt = promptTokens;
    this.sequences = requests.length;
    const prompts = requests.map(({ promptIds }) => promptIds);
    this.firsts = new Set(prompts.map((prompt) => prompts.indexOf(prompt)));
  }

  get usage() {
    return usageOf(this.tokens);
  }

  /** A token passes. Mutates. */
  count({ index, event }: ChoiceEvent): void {
    this.firstToken ??= performance.now();
    this.tokens.completion += 1;
    if (event.finishReason !== null) this.finishReasons.set(index, event.finishReason);
  }

  /** A sequence has ended. Mutates. */
  ended(index: number, { cachedPromptTokens }: Pick<GenerationSummary, "cachedPromptTokens">): void {
    if (this.firsts.has(index)) this.tokens.cached += cachedPromptTokens;
  }

  /** As log fields. A sequence without a reason was cut off: `otherwise` says by what. */
  summary(otherwise: string): Record<string, unknown> {
    const cut = this.finishReasons.size < this.sequences ? [otherwise] : [];
    const reasons = [...new Set([...this.finishReasons.values(), ...cut])];
    return {
      promptTokens: this.tokens.prompt,
      cachedTokens: this.tokens.cached,
      completionTokens: this.tokens.completion,
      ttftMs: this.firstToken === null ? null : Math.round(this.firstToken - this.started),
      finishReason: reasons.join(","),
    };
  }
}
