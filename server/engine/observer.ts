import type { Traffic } from "../../attention/types.ts";
import type { EngineErrorCode } from "./errors.ts";
import type { FinishReason } from "./types.ts";
import type { StuckStep } from "./watchdog.ts";

/** A request as observers see it: the same object in every call about it. */
export interface ObservedRequest {
  readonly id: string;
  /** Whom it counts against, if the request said. */
  readonly tenant?: string;
  readonly promptTokens: number;
  /** Tokens that it may generate. */
  readonly maxNewTokens: number;
}

/** How a request ended; "abort": its consumer left. */
export type EndReason = FinishReason | "abort" | "timeout" | "error";

/** What an ended request took. Times in seconds; null where it did not get so far. */
export interface RequestOutcome {
  readonly reason: EndReason;
  readonly completionTokens: number;
  readonly cachedPromptTokens: number;
  readonly preemptions: number;
  /** From its arrival to the plan of its first step. */
  readonly queueSeconds: number | null;
  /** From its arrival to its first token. */
  readonly firstTokenSeconds: number | null;
  /** From its first token to its last, divided by the tokens after the first; null without any. */
  readonly perTokenSeconds: number | null;
  /** From its arrival to its end. */
  readonly seconds: number;
}

/** A step that ended well. */
export interface ObservedStep {
  /** Wall time of the runner's step. */
  readonly seconds: number;
  readonly sequences: number;
  /** Tokens that ran: of prompts (and of what a preemption lost), and of sequences that decode. */
  readonly promptRows: number;
  readonly decodeRows: number;
  readonly traffic: Traffic;
  /** Of the wall time, attention's part, where the runner measures it. */
  readonly attentionSeconds?: number;
}

/**
 * What wants to know what the engine does, metrics for one. Calls come in order and at once: they must be quick and must
 * not call the engine. What they throw is swallowed: watching must not end a request. Each request that was queued ends in
 * exactly one `finished`.
 */
export interface EngineObserver {
  /** Admitted to the queue. */
  requestQueued?(request: ObservedRequest): void;
  /** Turned away with this error; there was no `requestQueued` and there will be no `finished`. */
  requestRefused?(code: EngineErrorCode): void;
  /** Its first step is about to run. */
  requestStarted?(request: ObservedRequest, queueSeconds: number): void;
  /** Its first token is there, so long after its arrival. */
  firstToken?(request: ObservedRequest, seconds: number): void;
  /** A token after the first is there, so long after the one before it. */
  token?(request: ObservedRequest, seconds: number): void;
  /** It lost its blocks and waits to be computed again. */
  preempted?(request: ObservedRequest): void;
  finished?(request: ObservedRequest, outcome: RequestOutcome): void;
  step?(step: ObservedStep): void;
  /** A step has taken too long and still runs. */
  stepStuck?(step: StuckStep): void;
  /** It has ended after all. */
  stepRecovered?(step: StuckStep): void;
}

/** Calls one observer after the other. */
export function combineObservers(observers: readonly EngineObserver[]): EngineObserver {
  const each = (call: (observer: EngineObserver) => void) => {
    for (const observer of observers) quietly(() => call(observer));
  };
  return {
    requestQueued: (request) => each((o) => o.requestQueued?.(request)),
    requestRefused: (code) => each((o) => o.requestRefused?.(code)),
    requestStarted: (request, seconds) => each((o) => o.requestStarted?.(request, seconds)),
    firstToken: (request, seconds) => each((o) => o.firstToken?.(request, seconds)),
    token: (request, seconds) => each((o) => o.token?.(request, seconds)),
    preempted: (request) => each((o) => o.preempted?.(request)),
    finished: (request, outcome) => each((o) => o.finished?.(request, outcome)),
    step: (step) => each((o) => o.step?.(step)),
    stepStuck: (step) => each((o) => o.stepStuck?.(step)),
    stepRecovered: (step) => each((o) => o.stepRecovered?.(step)),
  };
}

function quietly(call: () => void): void {
  try {
    call();
  } catch {
    // An observer's fault is not the request's.
  }
}

/** One request's calls to the observer, and the times in them. */
export class RequestReport {
  readonly request: ObservedRequest;
  private readonly observer: EngineObserver;
  private readonly now: () => number;
  private readonly queuedAt: number;
  private startedAt: number | null = null;
  private firstTokenAt: number | null = null;
  private lastTokenAt = 0;

  /** It arrives. `now` in seconds. */
  constructor(observer: EngineObserver, request: ObservedRequest, now: () => number) {
    this.observer = observer;
    this.request = request;
    this.now = now;
    this.queuedAt = now();
  }

  queued(): void {
    quietly(() => this.observer.requestQueued?.(this.request));
  }

  /** In every step of the request: the first counts. */
  started(): void {
    if (this.startedAt !== null) return;
    this.startedAt = this.now();
    const seconds = this.startedAt - this.queuedAt;
    quietly(() => this.observer.requestStarted?.(this.request, seconds));
  }

  /** It had a token at that time. */
  token(at: number): void {
    const since = this.firstTokenAt === null ? this.queuedAt : this.lastTokenAt;
    this.lastTokenAt = at;
    if (this.firstTokenAt !== null) {
      quietly(() => this.observer.token?.(this.request, at - since));
      return;
    }
    this.firstTokenAt = at;
    quietly(() => this.observer.firstToken?.(this.request, at - since));
  }

  preempted(): void {
    quietly(() => this.observer.preempted?.(this.request));
  }

  finished(
    reason: EndReason,
    counts: Pick<RequestOutcome, "completionTokens" | "cachedPromptTokens" | "preemptions">,
  ): void {
    const { queuedAt, startedAt, firstTokenAt, lastTokenAt } = this;
    const { completionTokens, cachedPromptTokens, preemptions } = counts;
    const outcome: RequestOutcome = {
      reason,
      completionTokens,
      cachedPromptTokens,
      preemptions,
      queueSeconds: startedAt === null ? null : startedAt - queuedAt,
      firstTokenSeconds: firstTokenAt === null ? null : firstTokenAt - queuedAt,
      perTokenSeconds:
        firstTokenAt === null || completionTokens < 2 ? null : (lastTokenAt - firstTokenAt) / (completionTokens - 1),
      seconds: this.now() - queuedAt,
    };
    quietly(() => this.observer.finished?.(this.request, outcome));
  }
}
