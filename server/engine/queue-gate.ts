import { engineErrors } from "./errors.ts";

/** Starts whose pace is taken for the pace of the next. */
const REMEMBERED_STARTS = 32;
const LONGEST_RETRY_SECONDS = 60;

interface Batch {
  live: number;
  started: boolean;
}

/**
 * How many requests may wait. A request is a batch of sequences that came together: it waits until one of them has begun
 * to run, and all of it is let in or none.
 */
export class QueueGate {
  private readonly most: number;
  private readonly now: () => number;
  private readonly batches = new Map<string, Batch>();
  private waitingCount = 0;
  /** When the last batches began, the oldest first. */
  private readonly starts: number[] = [];

  /** `most` may wait; `now` in seconds. */
  constructor(most: number, now: () => number) {
    this.most = most;
    this.now = now;
  }

  get waiting(): number {
    return this.waitingCount;
  }

  /** Throws EngineError "queue_full" unless one more sequence of this batch may come in. Does not mutate. */
  check(batch: string): void {
    if (this.batches.has(batch) || this.waitingCount < this.most) return;
    throw engineErrors.queueFull(this.waitingCount, this.most, this.retryAfterSeconds());
  }

  /** A sequence of this batch comes in. Mutates. */
  enter(batch: string): void {
    const known = this.batches.get(batch);
    if (known !== undefined) {
      known.live += 1;
      return;
    }
    this.batches.set(batch, { live: 1, started: false });
    this.waitingCount += 1;
  }

  /** A sequence of this batch begins to run. Mutates. */
  started(batch: string): void {
    const known = this.batches.get(batch);
    if (known === undefined || known.started) return;
    known.started = true;
    this.waitingCount -= 1;
    this.starts.push(this.now());
    if (this.starts.length > REMEMBERED_STARTS) this.starts.shift();
  }

  /** Whether a sequence of this batch, which is live, has begun to run. Does not mutate. */
  hasStarted(batch: string): boolean {
    return this.batches.get(batch)?.started ?? false;
  }

  /** A sequence of this batch has ended, or left before it ran. Mutates. */
  left(batch: string): void {
    const known = this.batches.get(batch);
    if (known === undefined) return;
    known.live -= 1;
    if (known.live > 0) return;
    this.batches.delete(batch);
    if (!known.started) this.waitingCount -= 1;
  }

  /** Whole seconds until half of those who wait have begun, at the pace of the last ones: 1 to 60. */
  retryAfterSeconds(): number {
    const [first] = this.starts;
    if (first === undefined) return 1;
    const pace = (this.now() - first) / this.starts.length;
    return Math.min(LONGEST_RETRY_SECONDS, Math.max(1, Math.ceil((pace * this.waitingCount) / 2)));
  }
}
