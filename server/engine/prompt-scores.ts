import { greedySampling } from "../../attention/sampling.ts";
import type { RowSampling, SampledRow } from "../../attention/types.ts";
import type { EventLogprobs, PromptLogprobs } from "./types.ts";

/**
 * The log-probabilities of a prompt's own tokens as its chunks bring them, in order. A chunk that runs again after a
 * preemption brings the same ones.
 */
export class PromptScores {
  private readonly promptIds: readonly number[];
  private readonly wanted: PromptLogprobs;
  /** entries[i] is that of promptIds[i + 1], which the row of promptIds[i] foretells. */
  private readonly entries: EventLogprobs[] = [];
  private told = false;

  constructor(promptIds: readonly number[], wanted: PromptLogprobs) {
    this.promptIds = promptIds;
    this.wanted = wanted;
  }

  /** How the rows of promptIds[first] and on are read, as many as foretell a token of the prompt. Does not mutate. */
  rows(first: number, count: number): RowSampling[] {
    const { promptIds, wanted } = this;
    return promptIds
      .slice(first + 1, first + 1 + count)
      .map((token) => ({ ...greedySampling, token, logprobs: wanted.top }));
  }

  /** Takes in what these rows gave; tells the request once all are there. Mutates. Throws the error of a row that has one. */
  accept(first: number, sampled: readonly SampledRow[]): void {
    for (const [i, { logprob, top, error }] of sampled.entries()) {
      if (error) throw error;
      this.entries[first + i] = { logprob, top };
    }
    if (this.told || this.entries.length < this.promptIds.length - 1) return;
    this.told = true;
    this.wanted.onReady(this.entries);
  }
}
