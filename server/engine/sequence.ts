import { attentionAt } from "../../attention/at-context.ts";
import type { AttentionSettings } from "../../attention/types.ts";
import type { Speculation } from "./speculation.ts";

/** A request as the scheduler sees it. */
export interface SequenceRequest {
  /** Unique among live requests. */
  readonly id: string;
  /** At least one token. */
  readonly promptIds: readonly number[];
  /** Tokens that will be generated at most, >= 1. */
  readonly maxNewTokens: number;
  readonly attention: AttentionSettings;
  /** Leading tokens of the prompt that attend densely and may be shared; default: all of them. */
  readonly denseTokens?: number;
  /** Only requests of the same salt share cached prompts. */
  readonly cacheSalt?: string;
  /** The logits of the prompt's rows are wanted: the prompt is computed, not served from the prefix cache. */
  readonly scorePrompt?: boolean;
  /** Whether drafts of its tokens may be run; default true. Its tokens are the same either way. */
  readonly speculate?: boolean;
  /** Lower runs sooner; default 0. */
  readonly priority?: number;
  /** Requests of one priority take turns by tenant; default: all are one. */
  readonly tenant?: string;
  /** Requests of one batch with the same `promptIds`, the very array, are choices: the prompt is computed once for all. */
  readonly batch?: string;
}

/** A live request: its tokens, and how far the cache holds them. Only the scheduler changes it. */
export class Sequence {
  readonly id: string;
  readonly promptLength: number;
  /** Rows at positions below this attend densely: the prompt, or its beginning. */
  readonly denseUntil: number;
  readonly attention: AttentionSettings;
  readonly maxNewTokens: number;
  /** Null if it runs no drafts. */
  speculation: Speculation | null = null;
  readonly priority: number;
  readonly tenant: string;
  /** Its place among those that have ever run: who began later yields sooner. Infinity before it runs. */
  rank = Number.POSITIVE_INFINITY;
  /** The prompt, then what was generated. */
  readonly tokens: number[];
  /** Leading positions whose K and V are in the cache. */
  computed = 0;
  /** Leading rows of the prompt whose logits are no longer wanted: all but the last one's, which gives a token, if none are. */
  scored: number;
  preemptions = 0;
  /** Prompt tokens that the prefix cache served when the request was first admitted or caught up. */
  cachedTokens = 0;

  constructor(request: SequenceRequest) {
    this.id = request.id;
    this.promptLength = request.promptIds.length;
    this.denseUntil = Math.min(request.denseTokens ?? this.promptLength, this.promptLength);
    this.attention = request.attention;
    this.maxNewTokens = request.maxNewTokens;
    this.priority = request.priority ?? 0;
    this.tenant = request.tenant ?? "";
    this.tokens = [...request.promptIds];
    this.scored = request.scorePrompt ? 0 : this.promptLength - 1;
  }

  /** Whether the next rows' logits are all wanted. */
  get scoring(): boolean {
    return this.scored < this.promptLength - 1;
  }

  /** Tokens that must run before the next one can be sampled. One while decoding. */
  get pending(): number {
    return this.tokens.length - this.computed;
  }

  get decoding(): boolean {
    return this.pending === 1 && this.computed >= this.promptLength;
  }

  /** Tokens that may still be generated. */
  get left(): number {
    return this.promptLength + this.maxNewTokens - this.tokens.length;
  }

  /** Below 0 if this one goes first: by priority, then by who began to run first. */
  compare(other: Readonly<Sequence>): number {
    return this.priority - other.priority || this.rank - other.rank;
  }

  /**
   * How the next rows attend, `draft` more than the pending ones but at most `most`, and how many do so alike: by `attention.minContext`
   * and `kShare` that depends on how many positions they see. The same position attends the same way when it is run again.
   */
  nextRows(most: number, draft = 0): { rows: number; attention: AttentionSettings } {
    const { attention, computed, denseUntil } = this;
    const rows = Math.min(this.pending + draft, most);
    // The row at position p sees p + 1 positions. Rows below denseUntil are dense whatever the settings, so they take the next ones'.
    const first = Math.max(computed, denseUntil);
    const at = attentionAt(attention, first + 1);
    return { rows: Math.min(rows, at.until - 1 - computed), attention: at.attention };
  }
}
