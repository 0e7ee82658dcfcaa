import type { BlockCopy, CacheManager } from "../../kvcache/cache-manager.ts";
import { Drafting } from "./drafting.ts";
import { engineErrors } from "./errors.ts";
import { LayeredPrefill } from "./layered-prefill.ts";
import { PrefillBudget } from "./prefill-budget.ts";
import { PromptChoices } from "./prompt-choices.ts";
import {
  defaultSchedulerSettings,
  type SampledTokens,
  type SchedulerSettings,
  type SchedulerStats,
} from "./scheduler-types.ts";
import { Sequence, type SequenceRequest } from "./sequence.ts";
import { countRows, rowsOf, type Share, shareOf } from "./share.ts";
import { demandsOf, shareRows } from "./share-rows.ts";
import { Speculation } from "./speculation.ts";
import type { PlannedSequence, StepPlan } from "./types.ts";
import { WaitingQueue } from "./waiting-queue.ts";

/** Prompts that are admitted though rows are short: a short one need not wait until a long one is done. */
const PROMPTS_UNDER_WAY = 4;

const NONE: ReadonlySet<string> = new Set();

/**
 * Decides what runs next: continuous batching with chunked prefill over a paged cache. Pure bookkeeping: no tensors, no
 * clock, no promises; calls alternate plan, commit, plan, commit, with add and abort at any time between.
 *
 * Who waits is admitted in WaitingQueue's order, strictly, when the blocks of all its known tokens can be had; for that,
 * requests of lower priority lose theirs. When a running request needs a block and none is left, the one that goes last,
 * by priority and by who began first, loses its blocks and waits to be computed again, before all that have not run. So
 * the one that goes first always moves, and since `add` refuses what could not run alone, every request ends.
 *
 * Drafts take what the step has left, rows and blocks, and nothing from anybody: see speculation.ts for when they do.
 */
export class Scheduler {
  private readonly cache: CacheManager;
  private readonly settings: SchedulerSettings;
  private readonly live = new Map<string, Sequence>();
  private readonly choices = new PromptChoices();
  /** By priority, then by who began first. */
  private readonly running: Sequence[] = [];
  private readonly waiting = new WaitingQueue();
  private readonly prefill: PrefillBudget;
  /** Null if no drafts are run. */
  private readonly drafting: Drafting | null;
  /** Null if rows cannot stop between layers. */
  private readonly layered: LayeredPrefill | null;
  private begun = 0;
  /** Of the step that is being planned. */
  private held: ReadonlySet<string> = NONE;
  private inFlight: readonly Share[] | null = null;
  private readonly totals = {
    preemptions: 0,
    promptTokens: 0,
    cachedPromptTokens: 0,
    drafts: 0,
    draftTokens: 0,
    acceptedDraftTokens: 0,
  };

  /** Throws RangeError unless 1 <= maxRunning <= maxRows and 1 <= maxScoredRows, and as PrefillBudget does. */
  constructor(cache: CacheManager, settings: Partial<SchedulerSettings> = {}) {
    this.settings = { ...defaultSchedulerSettings, ...settings };
    const { maxRows, maxRunning, maxScoredRows, prefill, layers, speculation } = this.settings;
    if (!(maxRunning >= 1 && maxRunning <= maxRows)) {
      throw new RangeError(`${maxRunning} running sequences do not fit into steps of ${maxRows} rows`);
    }
    if (!(maxScoredRows >= 1)) throw new RangeError(`${maxScoredRows} scored rows of a step: at least 1 is needed`);
    this.cache = cache;
    this.prefill = new PrefillBudget(prefill);
    this.drafting = speculation === null ? null : new Drafting(cache, speculation);
    this.layered = layers === null ? null : new LayeredPrefill(layers);
  }

  get stats(): SchedulerStats {
    return { running: this.running.length, waiting: this.waiting.size + this.choices.waiting, ...this.totals };
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
    if (this.drafting !== null && request.speculate !== false) {
      sequence.speculation = new Speculation(sequence.tokens);
    }
    // Others with this prompt attend to the rest of it in ways of their own.
    const shared = sequence.tokens.slice(0, sequence.denseUntil);
    this.cache.open(request.id, shared, request.cacheSalt, !request.scorePrompt);
    this.live.set(request.id, sequence);
    const alone = shared.length < sequence.promptLength;
    if (alone || !this.choices.join(sequence, request)) this.waiting.add(sequence);
  }

  /**
   * Ends a request and frees its blocks at once, even while a step that reads them runs: nothing is handed out before that
   * step's commit. Mutates. False for an unknown id.
   */
  abort(id: string): boolean {
    const sequence = this.live.get(id);
    if (sequence === undefined) return false;
    this.live.delete(id);
    this.layered?.leave(sequence);
    this.cache.close(id);
    const queued = !this.choices.waitsHere(sequence);
    const next = this.choices.leave(sequence);
    if (!queued || (next !== null && this.waiting.replace(sequence, next))) return true;
    if (!this.waiting.remove(sequence)) this.running.splice(this.running.indexOf(sequence), 1);
    if (next !== null) this.waiting.add(next, true);
    return true;
  }

  /**
   * The next step, or null when nothing is live but what is held back: `held` requests run no rows, since their next token
   * cannot be chosen yet. Mutates (takes blocks). Throws Error if a step awaits its commit.
   */
  plan(held: ReadonlySet<string> = NONE): StepPlan | null {
    this.held = held;
    if (this.inFlight !== null) throw new Error("plan() before the last step's commit()");
    const preempted: string[] = [];
    const copies: BlockCopy[] = [];
    const shares: Share[] = [];

    this.yieldToPriority(preempted);
    for (const sequence of [...this.running]) {
      if (this.makeRoom(sequence, preempted, copies) && sequence.decoding && !held.has(sequence.id))
        shares.push(shareOf(sequence, 1));
    }
    shares.push(...this.promptShares(shares.length));

    if (shares.length === 0) {
      if (this.live.size > 0 && held.size === 0)
        throw new Error(`none of ${this.live.size} requests can run: ${JSON.stringify(this.stats)}`);
      return null;
    }
    this.drafting?.addTo(shares, this.settings.maxRows - rowsOf(shares));
    this.inFlight = shares;
    return { sequences: shares.map((share) => this.describe(share)), preempted, copies };
  }

  /**
   * Takes in a step's outcome: tokens for each live request whose plan asked for logits. A failed step is committed with no
   * results after its requests were aborted. `seconds` is what the step took, if it is known: later steps' rows of prompts
   * and drafts are measured out by it. Mutates. Throws Error if no step is in flight, tokens are missing, or tokens before the last are
   * not those of the draft.
   */
  commit(results: readonly SampledTokens[], seconds?: number): void {
    if (this.inFlight === null) throw new Error("commit() without a step in flight");
    const tokens = new Map(results.map((result) => [result.requestId, result]));
    const { inFlight } = this;
    const present = inFlight.filter(({ sequence }) => this.live.get(sequence.id) === sequence);
    const steps = present.filter((share) => !this.layered?.stops(share));
    const lacking = steps.find(({ sequence, rows }) => rows === sequence.pending && !tokens.has(sequence.id));
    if (lacking !== undefined) throw new Error(`the step brought no token for request ${lacking.sequence.id}`);
    for (const { sequence, draft } of steps) {
      const accepted = tokens.get(sequence.id)?.tokenIds.slice(0, -1) ?? [];
      if (accepted.some((token, i) => token !== draft[i])) {
        throw new Error(`the step brought request ${sequence.id} tokens that follow no draft`);
      }
    }
    this.inFlight = null;
    this.layered?.commit(present);
    this.prefill.observe({ seconds: seconds ?? null, ...countRows(inFlight, this.settings.layers) });
    if (seconds !== undefined) this.drafting?.observe(inFlight, seconds);
    for (const { sequence, rows, draft } of steps) {
      const sampled = rows === sequence.pending ? tokens.get(sequence.id) : undefined;
      const accepted = sampled === undefined ? 0 : sampled.tokenIds.length - 1;
      // The cache may hold more, from tokens that turned out wrong: they are overwritten.
      sequence.computed += rows + accepted;
      sequence.scored = Math.max(sequence.scored, Math.min(sequence.computed, sequence.promptLength - 1));
      this.cache.markComputed(sequence.id, sequence.computed);
      if (sequence.computed >= sequence.promptLength) this.startChoices(sequence);
      if (sampled === undefined) continue;
      this.totals.drafts += draft.length > 0 ? 1 : 0;
      this.totals.draftTokens += draft.length;
      this.totals.acceptedDraftTokens += accepted;
      sequence.speculation?.learn(sampled.tokenIds);
      sequence.tokens.push(...sampled.tokenIds);
      if (sampled.finished) this.abort(sequence.id);
    }
  }

  /**
   * Reserves the block of the next position, and one of its own if that is shared, preempting from the end. False if the
   * request itself had to yield.
   */
  private makeRoom(sequence: Sequence, preempted: string[], copies: BlockCopy[]): boolean {
    if (!this.running.includes(sequence)) return false;
    const { id, computed } = sequence;
    while (!this.cache.canReserve(id, sequence.tokens.length, computed)) {
      const victim = this.running.at(-1)!;
      this.preempt(victim, preempted);
      if (victim === sequence) return false;
    }
    copies.push(...this.cache.reserve(id, sequence.tokens.length, computed));
    return true;
  }

  /**
   * The prompt has been computed: its other choices begin, as far as there is room, with its blocks and but its last row to
   * run, which gives each a token of its own. The rest queue before their tenant's others, with what is cached of it.
   */
  private startChoices(first: Sequence): void {
    const choices = this.choices.computed(first);
    const shared = first.promptLength - 1;
    // Each will need a block: a copy of the last one, or the next.
    const room = Math.min(this.settings.maxRunning - this.running.length, this.cache.available - this.cache.watermark);
    const started = choices.slice(0, Math.max(0, room));
    for (const choice of started) {
      this.cache.fork(first.id, choice.id, shared);
      choice.computed = shared;
      choice.cachedTokens = shared;
      this.totals.promptTokens += choice.promptLength;
      this.totals.cachedPromptTokens += shared;
      this.run(choice);
    }
    for (const choice of choices.slice(started.length).reverse()) this.waiting.add(choice, true);
  }

  /**
   * Lets in those that go before a running one, before that one takes more blocks; if need be it is preempted, the last
   * first, and only if that lets the other in.
   */
  private yieldToPriority(preempted: string[]): void {
    for (;;) {
      const next = this.waiting.first();
      const victims = next === undefined ? null : this.victimsOf(next);
      if (victims === null) return;
      for (const victim of victims) this.preempt(victim, preempted);
      this.admitNext();
    }
  }

  /** Running requests of lower priority that must yield to let this one in: null if there are none, or that is not enough. */
  private victimsOf(next: Sequence): Sequence[] | null {
    const lower = this.running.filter(({ priority }) => priority > next.priority).reverse();
    if (lower.length === 0) return null;
    const counts = Array.from({ length: lower.length + 1 }, (_, count) => count);
    const enough = counts.find((count) => {
      const others = this.running.length - count;
      const released = lower.slice(0, count).map(({ id }) => id);
      if (others >= this.settings.maxRunning) return false;
      return this.cache.canAdmit(next.id, next.tokens.length, others > 0, released);
    });
    return enough === undefined ? null : lower.slice(0, enough);
  }

  private preempt(victim: Sequence, preempted: string[]): void {
    this.running.splice(this.running.indexOf(victim), 1);
    this.layered?.leave(victim);
    this.cache.release(victim.id);
    victim.computed = 0;
    victim.preemptions += 1;
    this.totals.preemptions += 1;
    this.waiting.putBack(victim);
    preempted.push(victim.id);
  }

  /** Rows of prompts beside so many decode rows; those that go through some layers only come last. */
  private promptShares(decodeRows: number): Share[] {
    const { layered } = this;
    const allowed = this.prefill.allowance(decodeRows, this.promptsAhead());
    // Where nothing decodes nobody is held up, and rows need others to stop beside: they begin again.
    if (decodeRows === 0) layered?.clear();
    if (layered !== null && layered.shares.length > 0) {
      const held = layered.shares.some(({ sequence }) => this.held.has(sequence.id));
      return allowed === 0 || held ? [] : layered.goOn(allowed);
    }
    const inParts = layered !== null && allowed > 0 && allowed < Number.POSITIVE_INFINITY;
    const rows = inParts
      ? Math.max(layered.chunkRows(allowed), Math.floor(allowed))
      : this.prefill.rows(decodeRows, this.promptsAhead());
    const budget = Math.min(this.settings.maxRows - decodeRows, rows);
    const demands = demandsOf(this.promptsToRun(budget), this.settings.maxScoredRows);
    const shares = shareRows(demands, budget).flatMap((most, i) =>
      most > 0 ? shareOf(demands[i]!.sequence, most) : [],
    );
    if (!inParts || rowsOf(shares) <= allowed) return shares;
    // One that was admitted with but one row to run decodes from now on.
    const whole = shares.filter(({ decoding }) => decoding);
    return [
      ...whole,
      ...layered.begin(
        shares.filter(({ decoding }) => !decoding),
        allowed,
      ),
    ];
  }

  /** Prompts that run or could now. */
  private promptsAhead(): number {
    const slots = this.settings.maxRunning - this.running.length;
    return this.running.filter((s) => !s.decoding).length + Math.min(slots, this.waiting.size);
  }

  /**
   * The running prompts that can use rows, in order, with those that are admitted now: as many as fill `budget`, or a few.
   * One whose next page another computes in this step is left out: it will share that page.
   */
  private promptsToRun(budget: number): Sequence[] {
    const prompts = this.running.filter((s) => !s.decoding && !this.held.has(s.id));
    const wanted = () => prompts.reduce((sum, { pending }) => sum + pending, 0);
    while (budget > 0 && (prompts.length < PROMPTS_UNDER_WAY || wanted() < budget)) {
      const admitted = this.admitNext();
      if (admitted === null) break;
      prompts.push(admitted);
    }
    prompts.sort((a, b) => a.compare(b));
    const pages = new Set<string>();
    return prompts.filter((sequence) => {
      this.catchUp(sequence);
      const page = this.cache.sharedPageKey(sequence.id, sequence.computed, sequence.tokens.length);
      if (page === undefined) return true;
      if (pages.has(page)) return false;
      pages.add(page);
      return true;
    });
  }

  /** Moves the next waiting request to the running ones if it can have the blocks of all its tokens. */
  private admitNext(): Sequence | null {
    const sequence = this.waiting.first();
    if (sequence === undefined || this.held.has(sequence.id)) return null;
    if (this.running.length >= this.settings.maxRunning) return null;
    if (!this.cache.canAdmit(sequence.id, sequence.tokens.length, this.running.length > 0)) return null;
    this.waiting.shift();
    this.run(sequence);
    if (sequence.preemptions === 0) this.totals.promptTokens += sequence.promptLength;
    this.catchUp(sequence);
    this.cache.reserve(sequence.id, sequence.tokens.length);
    return sequence;
  }

  private run(sequence: Sequence): void {
    if (sequence.rank === Number.POSITIVE_INFINITY) sequence.rank = this.begun++;
    const place = this.running.findIndex((other) => sequence.compare(other) < 0);
    this.running.splice(place < 0 ? this.running.length : place, 0, sequence);
  }

  /** Skips what the prefix cache holds, also what another request has computed since this one was admitted. */
  private catchUp(sequence: Sequence): void {
    const before = sequence.computed;
    sequence.computed = this.cache.adopt(sequence.id, before, sequence.tokens.length);
    if (sequence.preemptions > 0) return;
    sequence.cachedTokens += sequence.computed - before;
    this.totals.cachedPromptTokens += sequence.computed - before;
  }

  private describe(share: Share): PlannedSequence {
    const { sequence, rows, attention, draft, layers } = share;
    const { id, computed, tokens, denseUntil } = sequence;
    return {
      requestId: id,
      tokenIds: [...tokens.slice(computed, computed + rows), ...draft],
      contextLength: computed,
      blockTable: this.cache.blockTable(id, computed + rows + draft.length),
      attention,
      denseUntil,
      logits: this.logitsOf(share),
      ...(draft.length > 0 ? { draft } : {}),
      ...(layers === undefined ? {} : { layers }),
    };
  }

  private logitsOf(share: Share): PlannedSequence["logits"] {
    const { sequence, rows, draft } = share;
    if (this.layered?.stops(share)) return "none";
    if (sequence.scoring || draft.length > 0) return "all";
    return rows === sequence.pending ? "last" : "none";
  }
}
