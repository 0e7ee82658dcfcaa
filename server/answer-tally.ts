import type { ChoiceEvent } from "./choices.ts";

/** Counts an answer's tokens as they pass, for the log. */
export class AnswerTally {
  private readonly started = performance.now();
  private firstToken: number | null = null;
  private readonly tokens = { prompt: 0, completion: 0 };
  private readonly finishReasons = new Map<number, string>();
  private readonly sequences: number;

  constructor(promptTokens: number, sequences: number) {
    this.tokens.prompt = promptTokens;
    this.sequences = sequences;
  }

  /** A token passes. Mutates. */
  count({ index, event }: ChoiceEvent): void {
    this.firstToken ??= performance.now();
    this.tokens.completion += 1;
    if (event.finishReason !== null) this.finishReasons.set(index, event.finishReason);
  }

  /** As log fields. A sequence without a reason was cut off: `otherwise` says by what. */
  summary(otherwise: string): Record<string, unknown> {
    const cut = this.finishReasons.size < this.sequences ? [otherwise] : [];
    const reasons = [...new Set([...this.finishReasons.values(), ...cut])];
    return {
      promptTokens: this.tokens.prompt,
      completionTokens: this.tokens.completion,
      ttftMs: this.firstToken === null ? null : Math.round(this.firstToken - this.started),
      finishReason: reasons.join(","),
    };
  }
}
