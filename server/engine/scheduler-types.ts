import type { PrefillSettings } from "./prefill-budget.ts";
import type { SpeculationSettings } from "./speculation.ts";

export interface SchedulerSettings {
  /** Rows (tokens) of a step at most; decode rows come first, rows of prompts share the rest. */
  readonly maxRows: number;
  /** Sequences that hold blocks at once; at most `maxRows`, so that each can move in every step. */
  readonly maxRunning: number;
  /** Prompt rows of a step at most whose logits are wanted, since each row of logits is as long as the vocabulary; >= 1. */
  readonly maxScoredRows: number;
  /** Decoding requests may run drafts of their next tokens; null: none does. */
  readonly speculation: SpeculationSettings | null;
  /** How much rows of prompts may hold up sequences that decode. */
  readonly prefill: PrefillSettings;
  /** The model's, if rows may stop between them: prompts then go beside sequences that decode a few layers at a time. */
  readonly layers: number | null;
}

export const defaultSchedulerSettings: SchedulerSettings = {
  maxRows: 512,
  maxRunning: 32,
  maxScoredRows: 128,
  speculation: null,
  prefill: { slowdown: 1.75, floor: 4 },
  layers: null,
};

/** What a step gave one request. */
export interface SampledTokens {
  readonly requestId: string;
  /** The tokens of its draft that were right, then the one that took the place of the next: at least one. */
  readonly tokenIds: readonly number[];
  /** The request ends with the last of them. */
  readonly finished: boolean;
}

export interface SchedulerStats {
  readonly running: number;
  readonly waiting: number;
  readonly preemptions: number;
  /** Prompt tokens of the requests admitted so far, and how many of them the prefix cache served. */
  readonly promptTokens: number;
  readonly cachedPromptTokens: number;
  /** Drafts that were run, their tokens, and how many of these came true. */
  readonly drafts: number;
  readonly draftTokens: number;
  readonly acceptedDraftTokens: number;
}
