import type { AttentionSettings } from "../../attention/types.ts";
import type { CacheManager } from "../../kvcache/cache-manager.ts";
import { engineErrors } from "./errors.ts";
import { Sequence, type SequenceRequest } from "./sequence.ts";
import { chancesOf, draftLengths, Speculation, type SpeculationSettings } from "./speculation.ts";
import type { PlannedSequence, StepPlan } from "./types.ts";

export interface SchedulerSettings {
  /** Rows (tokens) of a step at most; decode rows come first, prefill chunks share the rest. */
  readonly maxRows: number;
  /** Sequences that hold blocks at once; at most `maxRows`, so that each can move in every step. */
  readonly maxRunning: number;
  /** Prompt rows of a step at most whose logits are wanted, since each row of logits is as long as the vocabulary; >= 1. */
  readonly maxScoredRows: number;
  /** Decoding requests may run drafts of their next tokens; null: none does. */
  readonly speculation: SpeculationSettings | null;
}

export const defaultSchedulerSettings: SchedulerSettings = {
  maxRows: 512,
  maxRunning: 32,
  maxScoredRows: 128,
  speculation: null,
};

/** What a step gave one request. */
export interface SampledTokens {
  readonly requestId: string;
  /** The tokens of its draft that were right, then the one that took the place of the next: at least one. */
  readonly tokenIds: readonly number[];
  /** The request ends with the last of them. */
  readonly finished: boolean;
}

/** One sequence's part of a step. */
interface Share {
  readonly sequence: Sequence;
  /** Rows of tokens that are certain; those of the draft follow. */
  readonly rows: number;
  readonly attention: AttentionSettings;
  draft: readonly number[];
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

/**
 * Decides what runs next: continuous batching with chunked prefill over a paged cache. Pure bookkeeping: no tensors, no
 * clock, no promises; calls alternate plan, commit, plan, commit, with add and abort at any time between.
 *
 * Order is first come, first served, and strict: every running request came before every waiting one. A request is
 * admitted when the blocks of all its known tokens can be had. When a decoding request needs a block and none is left,
 * the latest comer loses its blocks and waits, at its place in the order, to be computed again. So the oldest request
 * always moves, and since `add` refuses what could not run alone, every request ends.
 *
 * Drafts take what the step has left, rows and blocks, and nothing from anybody: see speculation.ts for when they do.
 */
export class Scheduler {
  private readonly cache: CacheManager;
  private readonly settings: SchedulerSettings;
  private readonly live = new Map<string, Sequence>();
  // Both in order of arrival; everything in `running` came before everything in `waiting`.
  private readonly running: Sequence[] = [];
  private readonly waiting: Sequence[] = [];
  private inFlight: readonly Share[] | null = null;
  private readonly totals = {
    preemptions: 0,
    promptTokens: 0,
    cachedPromptTokens: 0,
    drafts: 0,
    draftTokens: 0,
    acceptedDraftTokens: 0,
  };

  /** Throws RangeError unless 1 <= maxRunning <= maxRows and 1 <= maxScoredRows. */
  constructor(cache: CacheManager, settings: Partial<SchedulerSettings> = {}) {
    this.settings = { ...defaultSchedulerSettings, ...settings };
    const { maxRows, maxRunning, maxScoredRows } = this.settings;
    if (!(maxRunning >= 1 && maxRunning <= maxRows)) {
      throw new RangeError(`${maxRunning} running sequences do not fit into steps of ${maxRows} rows`);
    }
    if (!(maxScoredRows >= 1)) throw new RangeError(`${maxScoredRows} scored rows of a step: at least 1 is needed`);
    this.cache = cache;
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
    if (this.settings.speculation !== null && request.speculate !== false) {
      sequence.speculation = new Speculation(sequence.tokens);
    }
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
    const shares: Share[] = [];
    let budget = this.settings.maxRows;
    let scoredBudget = this.settings.maxScoredRows;
    const include = (sequence: Sequence) => {
      const { rows, attention } = sequence.nextRows(sequence.scoring ? Math.min(budget, scoredBudget) : budget);
      if (rows === 0) return;
      budget -= rows;
      if (sequence.scoring) scoredBudget -= rows;
      shares.push({ sequence, rows, attention, draft: [] });
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

    if (shares.length === 0) {
      if (this.live.size > 0)
        throw new Error(`none of ${this.live.size} requests can run: ${JSON.stringify(this.stats)}`);
      return null;
    }
    if (this.settings.speculation !== null) this.addDrafts(shares, budget, this.settings.speculation);
    this.inFlight = shares;
    return { sequences: shares.map((share) => this.describe(share)), preempted };
  }

  /**
   * Takes in a step's outcome: tokens for each live request whose plan asked for logits. A failed step is committed with no
   * results after its requests were aborted. Mutates. Throws Error if no step is in flight, tokens are missing, or tokens
   * before the last are not those of the draft.
   */
  commit(results: readonly SampledTokens[]): void {
    if (this.inFlight === null) throw new Error("commit() without a step in flight");
    const tokens = new Map(results.map((result) => [result.requestId, result]));
    const steps = this.inFlight.filter(({ sequence }) => this.live.get(sequence.id) === sequence);
    const lacking = steps.find(({ sequence, rows }) => rows === sequence.pending && !tokens.has(sequence.id));
    if (lacking !== undefined) throw new Error(`the step brought no token for request ${lacking.sequence.id}`);
    for (const { sequence, draft } of steps) {
      const accepted = tokens.get(sequence.id)?.tokenIds.slice(0, -1) ?? [];
      if (accepted.some((token, i) => token !== draft[i])) {
        throw new Error(`the step brought request ${sequence.id} tokens that follow no draft`);
      }
    }
    this.inFlight = null;
    for (const { sequence, rows, draft } of steps) {
      const sampled = rows === sequence.pending ? tokens.get(sequence.id) : undefined;
      const accepted = sampled === undefined ? 0 : sampled.tokenIds.length - 1;
      // The cache may hold more, from tokens that turned out wrong: they are overwritten.
      sequence.computed += rows + accepted;
      sequence.scored = Math.max(sequence.scored, Math.min(sequence.computed, sequence.promptLength - 1));
      this.cache.markComputed(sequence.id, sequence.computed);
      if (sampled === undefined) continue;
      this.totals.drafts += draft.length > 0 ? 1 : 0;
      this.totals.draftTokens += draft.length;
      this.totals.acceptedDraftTokens += accepted;
      sequence.speculation?.learn(sampled.tokenIds);
      sequence.tokens.push(...sampled.tokenIds);
      if (sampled.finished) this.abort(sequence.id);
    }
  }

  /** Gives decoding requests drafts, as far as they are worth it and `budget` rows and the available blocks allow. */
  private addDrafts(shares: readonly Share[], budget: number, { maxDraft, stepCost }: SpeculationSettings): void {
    const decoding = shares.filter(({ sequence }) => sequence.decoding);
    const proposals = decoding.flatMap((share) => {
      const { speculation, left } = share.sequence;
      // The request's last token never runs, and a draft of all but it gives that one too.
      const draft = speculation?.propose(Math.min(maxDraft, left - 1));
      return draft === undefined ? [] : [{ share, draft, chances: chancesOf(draft, speculation!.acceptance) }];
    });
    const chances = proposals.map((proposal) => proposal.chances);
    let free = budget;
    for (const [i, wanted] of draftLengths(chances, decoding.length, stepCost).entries()) {
      const { share, draft } = proposals[i]!;
      const { sequence } = share;
      let length = sequence.nextRows(1 + free, wanted).rows - 1;
      while (length > 0 && !this.cache.canReserve(sequence.id, sequence.tokens.length + length)) length -= 1;
      if (length === 0) continue;
      this.cache.reserve(sequence.id, sequence.tokens.length + length);
      share.draft = draft.tokens.slice(0, length);
      free -= length;
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

  private describe({ sequence, rows, attention, draft }: Share): PlannedSequence {
    const { id, computed, tokens, promptLength } = sequence;
    return {
      requestId: id,
      tokenIds: [...tokens.slice(computed, computed + rows), ...draft],
      contextLength: computed,
      blockTable: this.cache.blockTable(id, computed + rows + draft.length),
      attention,
      denseUntil: promptLength,
      logits: sequence.scoring || draft.length > 0 ? "all" : rows === sequence.pending ? "last" : "none",
      ...(draft.length > 0 ? { draft } : {}),
    };
  }
}
