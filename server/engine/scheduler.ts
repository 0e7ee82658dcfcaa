import type { AttentionSettings } from "../../attention/types.ts";
import type { CacheManager } from "../../kvcache/cache-manager.ts";
import { engineErrors } from "./errors.ts";
import { Sequence, type SequenceRequest } from "./sequence.ts";
import type { PlannedSequence, StepPlan } from "./types.ts";

export interface SchedulerSettings {
  /** Rows (tokens) of a step at most; decode rows come first, prefill chunks share the rest. */
  readonly maxRows: number;
  /** Sequences that hold blocks at once; at most `maxRows`, so that each can move in every step. */
  readonly maxRunning: number;
  /** Prompt rows of a step at most whose logits are wanted, since each row of logits is as long as the vocabulary; >= 1. */
  readonly maxScoredRows: number;
}

export const defaultSchedulerSettings: SchedulerSettings = { maxRows: 512, maxRunning: 32, maxScoredRows: 128 };

/** What a step gave one request. */
export interface SampledToken {
  readonly requestId: string;
  readonly tokenId: number;
  /** The request ends with this token. */
  readonly finished: boolean;
}

export interface SchedulerStats {
  readonly running: number;
  readonly waiting: number;
  readonly preemptions: number;
  /** Prompt tokens of the requests admitted so far, and how many of them the prefix cache served. */
  readonly promptTokens: number;
  readonly cachedPromptTokens: number;
}

/**
 * Decides what runs next: continuous batching with chunked prefill over a paged cache. Pure bookkeeping: no tensors, no
 * clock, no promises; calls alternate plan, commit, plan, commit, with add and abort at any time between.
 *
 * Order is first come, first served, and strict: every running request came before every waiting one. A request is
 * admitted when the blocks of all its known tokens can be had. When a decoding request needs a block and none is left,
 * the latest comer loses its blocks and waits, at its place in the order, to be computed again. So the oldest request
 * always moves, and since `add` refuses what could not run alone, every request ends.
 */
export class Scheduler {
  private readonly cache: CacheManager;
  private readonly settings: SchedulerSettings;
  private readonly live = new Map<string, Sequence>();
  // Both in order of arrival; everything in `running` came before everything in `waiting`.
  private readonly running: Sequence[] = [];
  private readonly waiting: Sequence[] = [];
  private inFlight: { readonly sequence: Sequence; readonly rows: number }[] | null = null;
  private readonly totals = { preemptions: 0, promptTokens: 0, cachedPromptTokens: 0 };

  /** Throws RangeError unless 1 <= maxRunning <= maxRows and 1 <= maxScoredRows. */
  constructor(cache: CacheManager, settings: SchedulerSettings = defaultSchedulerSettings) {
    const { maxRows, maxRunning, maxScoredRows } = settings;
    if (!(maxRunning >= 1 && maxRunning <= maxRows)) {
      throw new RangeError(`${maxRunning} running sequences do not fit into steps of ${maxRows} rows`);
    }
    if (!(maxScoredRows >= 1)) throw new RangeError(`${maxScoredRows} scored rows of a step: at least 1 is needed`);
    this.cache = cache;
    this.settings = settings;
  }

  get stats(): SchedulerStats {
    return { running: this.running.length, waiting: this.waiting.length, ...this.totals };
  }

  /** The live request of this id. Does not mutate. */
  get(id: string): Readonly<Sequence> | undefined {
    return this.live.get(id);
  }

  /** Queues a request. Mutates. Throws EngineError "duplicate_id", or "cache_too_small" for what could never run. */
  add(request: SequenceRequest): void {
    if (this.live.has(request.id)) throw engineErrors.duplicateId(request.id);
    // The last token that is generated is never run, so it needs no place.
    const positions = request.promptIds.length + request.maxNewTokens - 1;
    const needed = this.cache.blocksFor(positions);
    const { total } = this.cache.counts;
    if (needed > total) throw engineErrors.cacheTooSmall(needed, total, positions, this.cache.blockSize);
    const sequence = new Sequence(request);
    this.cache.open(request.id, sequence.tokens.slice(), request.cacheSalt, !request.scorePrompt);
    this.live.set(request.id, sequence);
    this.waiting.push(sequence);
  }

  /**
   * Ends a request and frees its blocks at once, even while a step that reads them runs: nothing is handed out before that
   * step's commit. Mutates. False for an unknown id.
   */
  abort(id: string): boolean {
    const sequence = this.live.get(id);
    if (sequence === undefined) return false;
    this.live.delete(id);
    this.cache.close(id);
    for (const list of [this.running, this.waiting]) {
      const index = list.indexOf(sequence);
      if (index >= 0) list.splice(index, 1);
    }
    return true;
  }

  /** The next step, or null when nothing is live. Mutates (takes blocks). Throws Error if a step awaits its commit. */
  plan(): StepPlan | null {
    if (this.inFlight !== null) throw new Error("plan() before the last step's commit()");
    const preempted: string[] = [];
    const planned: PlannedSequence[] = [];
    const inFlight: { sequence: Sequence; rows: number }[] = [];
    let budget = this.settings.maxRows;
    let scoredBudget = this.settings.maxScoredRows;
    const include = (sequence: Sequence) => {
      const { rows, attention } = sequence.nextRows(sequence.scoring ? Math.min(budget, scoredBudget) : budget);
      if (rows === 0) return;
      budget -= rows;
      if (sequence.scoring) scoredBudget -= rows;
      inFlight.push({ sequence, rows });
      planned.push(this.describe(sequence, rows, attention));
    };

    for (const sequence of this.running.filter((s) => s.decoding)) {
      if (this.makeRoom(sequence, preempted)) include(sequence);
    }
    for (const sequence of this.running.filter((s) => !s.decoding)) {
      if (budget === 0) break;
      this.catchUp(sequence);
      include(sequence);
    }
    while (budget > 0 && this.admitNext()) include(this.running.at(-1)!);

    if (planned.length === 0) {
      if (this.live.size > 0)
        throw new Error(`none of ${this.live.size} requests can run: ${JSON.stringify(this.stats)}`);
      return null;
    }
    this.inFlight = inFlight;
    return { sequences: planned, preempted };
  }

  /**
   * Takes in a step's outcome: one token for each live request whose plan asked for logits. A failed step is committed
   * with no results after its requests were aborted. Mutates. Throws Error if no step is in flight or a token is missing.
   */
  commit(results: readonly SampledToken[]): void {
    if (this.inFlight === null) throw new Error("commit() without a step in flight");
    const tokens = new Map(results.map((result) => [result.requestId, result]));
    const steps = this.inFlight.filter(({ sequence }) => this.live.get(sequence.id) === sequence);
    const lacking = steps.find(({ sequence, rows }) => rows === sequence.pending && !tokens.has(sequence.id));
    if (lacking !== undefined) throw new Error(`the step brought no token for request ${lacking.sequence.id}`);
    this.inFlight = null;
    for (const { sequence, rows } of steps) {
      const sampled = rows === sequence.pending ? tokens.get(sequence.id) : undefined;
      sequence.computed += rows;
      sequence.scored = Math.max(sequence.scored, Math.min(sequence.computed, sequence.promptLength - 1));
      this.cache.markComputed(sequence.id, sequence.computed);
      if (sampled === undefined) continue;
      sequence.tokens.push(sampled.tokenId);
      if (sampled.finished) this.abort(sequence.id);
    }
  }

  /** Reserves the block of the next position, preempting from the end. False if the request itself had to yield. */
  private makeRoom(sequence: Sequence, preempted: string[]): boolean {
    if (!this.running.includes(sequence)) return false;
    while (!this.cache.canReserve(sequence.id, sequence.tokens.length)) {
      const victim = this.running.pop()!;
      this.cache.release(victim.id);
      victim.computed = 0;
      victim.preemptions += 1;
      this.totals.preemptions += 1;
      this.waiting.unshift(victim);
      preempted.push(victim.id);
      if (victim === sequence) return false;
    }
    this.cache.reserve(sequence.id, sequence.tokens.length);
    return true;
  }

  /** Moves the oldest waiting request to the running ones if it can have the blocks of all its tokens. */
  private admitNext(): boolean {
    const sequence = this.waiting[0];
    if (sequence === undefined || this.running.length >= this.settings.maxRunning) return false;
    if (!this.cache.canAdmit(sequence.id, sequence.tokens.length, this.running.length > 0)) return false;
    this.waiting.shift();
    this.running.push(sequence);
    if (sequence.preemptions === 0) this.totals.promptTokens += sequence.promptLength;
    this.catchUp(sequence);
    this.cache.reserve(sequence.id, sequence.tokens.length);
    return true;
  }

  /** Skips what the prefix cache holds, also what another request has computed since this one was admitted. */
  private catchUp(sequence: Sequence): void {
    const before = sequence.computed;
    sequence.computed = this.cache.adopt(sequence.id, before, sequence.tokens.length);
    if (sequence.preemptions > 0) return;
    sequence.cachedTokens += sequence.computed - before;
    this.totals.cachedPromptTokens += sequence.computed - before;
  }

  private describe(sequence: Sequence, rows: number, attention: AttentionSettings): PlannedSequence {
    const { id, computed, tokens, promptLength } = sequence;
    return {
      requestId: id,
      tokenIds: tokens.slice(computed, computed + rows),
      contextLength: computed,
      blockTable: this.cache.blockTable(id, computed + rows),
      attention,
      denseUntil: promptLength,
      logits: sequence.scoring ? "all" : rows === sequence.pending ? "last" : "none",
    };
  }
}
