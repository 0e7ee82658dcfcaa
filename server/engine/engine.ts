import { setImmediate as eventLoopTurn } from "node:timers/promises";
import type { Traffic } from "../../attention/types.ts";
import { CacheManager, type CacheOptions } from "../../kvcache/cache-manager.ts";
import { checkInvariants } from "../../kvcache/invariants.ts";
import type { ModelConfig } from "../../models/types.ts";
import { within } from "../within.ts";
import { checkRequest } from "./check-request.ts";
import { EngineError, engineErrors } from "./errors.ts";
import { QueueReader } from "./event-queue.ts";
import { Generation, type Progress, type TokenMeaning } from "./generation.ts";
import { combineObservers, type EndReason, type EngineObserver, type ObservedStep, RequestReport } from "./observer.ts";
import { QueueGate } from "./queue-gate.ts";
import { Scheduler } from "./scheduler.ts";
import type { SampledTokens, SchedulerSettings } from "./scheduler-types.ts";
import { addTraffic, describeStep, observedStep, type TimedOutput } from "./step-report.ts";
import type { RunnerOutput, StepRunner } from "./step-runner.ts";
import type {
  Engine,
  EngineStats,
  GenerateRequest,
  GenerationSummary,
  PlannedSequence,
  StepPlan,
  TokenEvent,
  Tokenizer,
} from "./types.ts";
import { Watchdog } from "./watchdog.ts";

/** Logits of prompt rows that a step has at most: 32 MB. */
const MOST_LOGITS = 2 ** 23;

/** Blocks that are copied before other work gets a turn: some milliseconds at most. */
const COPIES_PER_TURN = 4;
/** How long a step waits for masks, in milliseconds. They are mostly there in less than one. */
const MASK_WAIT_MS = 20;

export type { RunnerOutput, StepRunner };

/** What a request may ask of the engine's patience; all default to no limit. */
export interface EngineLimits {
  /** Requests that wait at most. */
  readonly maxWaiting?: number;
  /** Seconds that a request may wait, and that it may take in all. */
  readonly queueSeconds?: number;
  readonly requestSeconds?: number;
  /** Seconds after which a step that runs is reported. */
  readonly stuckSeconds?: number;
}

export interface EngineOptions {
  readonly runner: StepRunner;
  readonly config: Pick<ModelConfig, "vocabSize" | "maxPositions" | "eosTokenIds">;
  readonly tokenizer: Tokenizer;
  /** The size of the runner's store. */
  readonly cache: CacheOptions;
  readonly scheduler?: Partial<SchedulerSettings>;
  readonly limits?: EngineLimits;
  /** Longest sequence, prompt and generated, if less than the model's. */
  readonly maxPositions?: number;
  /** Check the cache's bookkeeping after every step and fail loudly; for tests and for debugging. */
  readonly checked?: boolean;
  /** Are told what happens, for metrics. */
  readonly observers?: readonly EngineObserver[];
  /** Seconds that never go back; default: the process's own. */
  readonly now?: () => number;
}

/** An engine over one model. It owns the runner and closes it. Throws RangeError for settings that do not fit. */
export function createEngine(options: EngineOptions): Engine {
  return new StepEngine(options);
}

class StepEngine implements Engine {
  private readonly options: EngineOptions;
  private readonly limit: number;
  private readonly meaning: TokenMeaning;
  private readonly observer: EngineObserver;
  private readonly now: () => number;
  private readonly gate: QueueGate;
  private readonly watchdog: Watchdog;
  private cache!: CacheManager;
  private scheduler!: Scheduler;
  private readonly live = new Map<string, Generation>();
  private steps = 0;
  private generatedTokens = 0;
  /** What the last step gave, of which nobody has been told: that is done while the next one runs. */
  private untold: { readonly step: ObservedStep; readonly outcomes: readonly Outcome[]; readonly at: number } | null =
    null;
  private traffic: Traffic = { scoreBytes: 0, gatherBytes: 0, denseBytes: 0, denseEquivalentBytes: 0 };
  /** The loop, while there is work. */
  private loop: Promise<void> | null = null;
  private closing: Promise<void> | null = null;

  constructor(options: EngineOptions) {
    const { config, tokenizer } = options;
    this.options = options;
    this.limit = Math.min(config.maxPositions, options.maxPositions ?? config.maxPositions);
    this.observer = combineObservers(options.observers ?? []);
    this.now = options.now ?? (() => performance.now() / 1000);
    const { maxWaiting = Number.POSITIVE_INFINITY, stuckSeconds = Number.POSITIVE_INFINITY } = options.limits ?? {};
    this.gate = new QueueGate(maxWaiting, this.now);
    this.watchdog = new Watchdog(stuckSeconds, this.now, (step) => this.observer.stepStuck?.(step));
    // A tokenizer may know more tokens than the model.
    const eosTokenIds = [...config.eosTokenIds, ...tokenizer.eosTokenIds].filter((id) => id < config.vocabSize);
    this.meaning = { tokenizer, eosTokenIds: new Set(eosTokenIds) };
    this.reset();
  }

  generate(request: GenerateRequest, signal?: AbortSignal): AsyncGenerator<TokenEvent, GenerationSummary, void> {
    let generation: Generation | undefined;
    const open = () => {
      signal?.throwIfAborted();
      generation = this.admitOrRefuse(request);
      this.listen(generation, signal);
      return generation.events;
    };
    return new QueueReader(open, () => this.drop(generation!, new Error("the consumer left"), "abort"));
  }

  stats(): EngineStats {
    const { steps, generatedTokens, traffic } = this;
    const { stuck } = this.watchdog;
    return {
      ...this.scheduler.stats,
      blocks: this.cache.counts,
      steps,
      generatedTokens,
      traffic,
      ...(stuck === null ? {} : { stuckStep: stuck }),
    };
  }

  close(): Promise<void> {
    this.closing ??= (async () => {
      for (const generation of [...this.live.values()]) this.drop(generation, engineErrors.closed(), "abort");
      await this.loop;
      this.options.runner.close();
    })();
    return this.closing;
  }

  /** Steps until nothing is live. Never rejects: a fault of ours ends the requests, not the engine. */
  private async run(): Promise<void> {
    try {
      await eventLoopTurn(); // Requests that come in one turn start in one step.
      for (;;) {
        const late = await this.lateMasks();
        const plan = this.scheduler.plan(new Set(late.map(({ id }) => id)));
        if (plan === null) {
          this.tell();
          if (late.length === 0) break;
          await Promise.race(late.map(({ constraint }) => constraint?.settled()));
          continue;
        }
        const batch = this.join(plan);
        const step = await this.execute(plan, batch);
        const outcomes = step === null ? [] : this.accept(plan, batch, step.output);
        this.scheduler.commit(outcomes, step?.seconds);
        for (const { generation, end } of outcomes) if (end !== null) this.forget(generation);
        if (step !== null) this.untold = { step: observedStep(plan, step), outcomes, at: this.now() };
        if (this.options.checked) this.check();
      }
    } catch (error) {
      this.tell();
      for (const generation of [...this.live.values()]) this.drop(generation, engineErrors.stepFailed(error));
      this.reset();
    } finally {
      this.loop = null;
    }
  }

  /** Those whose grammar has not said what may come next, after a moment's wait: the others do not wait longer for them. */
  private async lateMasks(): Promise<Generation[]> {
    const masked = [...this.live.values()].filter(({ constraint }) => constraint !== null);
    const isLate = ({ constraint }: Generation) => constraint?.mask === null;
    const late = masked.filter(isLate);
    if (late.length > 0) {
      this.tell();
      await within(Promise.all(late.map(({ constraint }) => constraint?.settled())), MASK_WAIT_MS);
    }
    for (const generation of masked) {
      if (generation.constraint?.error) this.drop(generation, engineErrors.stepFailed(generation.constraint.error));
    }
    return late.filter((generation) => isLate(generation) && this.isLive(generation));
  }

  /** The generations of a plan, in its order. */
  private join(plan: StepPlan): Generation[] {
    for (const id of plan.preempted) {
      const generation = this.live.get(id)!;
      generation.preemptions += 1;
      generation.report.preempted();
    }
    return plan.sequences.map(({ requestId }) => {
      const generation = this.live.get(requestId)!;
      generation.cachedPromptTokens = this.scheduler.get(requestId)!.cachedTokens;
      generation.report.started();
      this.gate.started(generation.batch);
      return generation;
    });
  }

  /**
   * Runs the step; consumers get what the one before it gave, and the event loop a turn, meanwhile. Null, with its requests
   * rejected, if it failed.
   */
  private async execute(plan: StepPlan, batch: readonly Generation[]): Promise<TimedOutput | null> {
    try {
      const sequences = plan.sequences.map((sequence, i) => {
        const part = batch[i]!.goOn(sequence);
        return part.logits === "none" ? part : { ...part, sampling: batch[i]!.sampling(sequence) };
      });
      if (plan.copies.length > 0) await this.copyBlocks(plan);
      const running = this.runTimed(plan, sequences);
      this.tell();
      const [step] = await Promise.all([running, eventLoopTurn()]);
      for (const [i, generation] of batch.entries()) generation.hidden = step.output.hidden?.[i];
      this.steps += 1;
      this.traffic = addTraffic(this.traffic, step.output.traffic);
      return step;
    } catch (error) {
      for (const generation of batch) this.drop(generation, engineErrors.stepFailed(error));
      return null;
    }
  }

  /** A block may be megabytes: the event loop gets turns in between. */
  private async copyBlocks({ copies }: StepPlan): Promise<void> {
    this.tell(); // The step that copies are for is some time off.
    for (const [i, { from, to }] of copies.entries()) {
      if (i > 0 && i % COPIES_PER_TURN === 0) await eventLoopTurn();
      this.options.runner.copyBlock(from, to);
    }
  }

  private async runTimed(plan: StepPlan, sequences: readonly PlannedSequence[]): Promise<TimedOutput> {
    const started = this.now();
    const running = this.options.runner.step(sequences);
    // After the step has been handed over, as all that need not come before.
    this.watchdog.begin(() => describeStep(plan), started);
    try {
      const output = await running;
      return { output, seconds: this.now() - started };
    } finally {
      const stuck = this.watchdog.end();
      if (stuck !== null) this.observer.stepRecovered?.(stuck);
    }
  }

  /** The next tokens of each sequence that got any; one that could not run is dropped. */
  private accept(plan: StepPlan, batch: readonly Generation[], { sampled, errors }: RunnerOutput): Outcome[] {
    if (sampled.length !== batch.length) {
      throw new Error(`a step of ${batch.length} sequences brought results of ${sampled.length}`);
    }
    const outcomes: Outcome[] = [];
    for (const [i, generation] of batch.entries()) {
      if (!this.isLive(generation)) continue;
      try {
        if (errors?.[i] !== undefined) throw errors[i];
        const progress = generation.accept(plan.sequences[i]!, sampled[i]!);
        if (progress === null) continue;
        outcomes.push({ requestId: generation.id, finished: progress.end !== null, generation, ...progress });
      } catch (error) {
        this.drop(generation, engineErrors.stepFailed(error));
      }
    }
    return outcomes;
  }

  /** Hands out what the last step gave. Whom it ended is not live any more; another one that is not has been dropped. */
  private tell(): void {
    if (this.untold === null) return;
    const { step, outcomes, at } = this.untold;
    this.untold = null;
    this.observer.step?.(step);
    for (const { generation, events, end } of outcomes) {
      if (end === null && !this.isLive(generation)) continue;
      for (const event of events()) {
        this.generatedTokens += 1;
        generation.report.token(at);
        generation.events.push(event);
      }
      if (end !== null) generation.end(end);
    }
  }

  private admitOrRefuse(request: GenerateRequest): Generation {
    try {
      return this.admit(request);
    } catch (error) {
      if (error instanceof EngineError) this.observer.requestRefused?.(error.code);
      throw error;
    }
  }

  private admit(request: GenerateRequest): Generation {
    if (this.closing !== null) throw engineErrors.closed();
    const { id, promptIds, sampling } = request;
    checkRequest(request, this.limit, this.options.config.vocabSize);
    if (this.live.has(id)) throw engineErrors.duplicateId(id);
    this.gate.check(request.batch ?? id);

    const maxNewTokens = Math.min(sampling.maxTokens, this.limit - promptIds.length);
    const generation = new Generation(request, maxNewTokens, this.meaning, this.reportOf(request, maxNewTokens));
    const scorePrompt = request.promptLogprobs !== undefined;
    const runs = maxNewTokens > 0 || scorePrompt;
    // A prompt that is only scored runs until the token that would be next, which nobody gets to see.
    const speculate = generation.constraint === null && request.speculate !== false;
    if (runs) this.scheduler.add({ ...request, maxNewTokens: Math.max(1, maxNewTokens), scorePrompt, speculate });
    generation.report.queued();
    if (!runs) {
      generation.end("length");
      return generation;
    }
    this.live.set(id, generation);
    this.gate.enter(generation.batch);
    this.setDeadlines(generation);
    this.loop ??= this.run();
    return generation;
  }

  private reportOf({ id, tenant, promptIds }: GenerateRequest, maxNewTokens: number): RequestReport {
    const observed = { id, promptTokens: promptIds.length, maxNewTokens, ...(tenant === undefined ? {} : { tenant }) };
    return new RequestReport(this.observer, observed, this.now);
  }

  private setDeadlines(generation: Generation): void {
    const { queueSeconds = Number.POSITIVE_INFINITY, requestSeconds = Number.POSITIVE_INFINITY } =
      this.options.limits ?? {};
    const after = (seconds: number, error: () => EngineError | null) => {
      if (seconds === Number.POSITIVE_INFINITY) return;
      const giveUp = () => {
        const reason = error();
        if (reason !== null) this.drop(generation, reason, "timeout");
      };
      generation.deadlines.push(setTimeout(giveUp, seconds * 1000));
    };
    after(queueSeconds, () => {
      // A choice that waits for another one's prompt has begun with it.
      const begun = this.gate.hasStarted(generation.batch);
      return begun ? null : engineErrors.queueTimeout(queueSeconds, this.gate.retryAfterSeconds());
    });
    after(requestSeconds, () => engineErrors.requestTimeout(requestSeconds, generation.completionTokens));
  }

  /** Drops it when the signal says so, while it lives. */
  private listen(generation: Generation, signal?: AbortSignal): void {
    if (signal === undefined || !this.isLive(generation)) return;
    const onAbort = () => this.drop(generation, signal.reason, "abort");
    signal.addEventListener("abort", onAbort, { once: true });
    generation.unlisten = () => signal.removeEventListener("abort", onAbort);
  }

  /** It is no longer live. */
  private forget(generation: Generation): void {
    this.live.delete(generation.id);
    this.gate.left(generation.batch);
    generation.unlisten();
    for (const deadline of generation.deadlines) clearTimeout(deadline);
  }

  /** Ends a request before its time and frees its blocks; nothing if it has ended. */
  private drop(generation: Generation, error: unknown, reason: EndReason = "error"): void {
    if (!this.isLive(generation)) return;
    this.tell(); // What it got before is still its consumer's.
    this.forget(generation);
    this.scheduler.abort(generation.id);
    generation.fail(error, reason);
  }

  /** False once it was dropped, even if its id is in use again. */
  private isLive(generation: Generation): boolean {
    return this.live.get(generation.id) === generation;
  }

  private reset(): void {
    this.cache = new CacheManager(this.options.cache);
    const maxScoredRows = Math.max(1, Math.floor(MOST_LOGITS / this.options.config.vocabSize));
    this.scheduler = new Scheduler(this.cache, {
      maxScoredRows,
      layers: this.options.runner.layers ?? null,
      ...this.options.scheduler,
    });
  }

  private check(): void {
    const violations = checkInvariants(this.cache.snapshot());
    if (violations.length > 0) throw new Error(`the cache's bookkeeping is broken: ${violations.join("; ")}`);
  }
}

interface Outcome extends SampledTokens, Progress {
  readonly generation: Generation;
}
