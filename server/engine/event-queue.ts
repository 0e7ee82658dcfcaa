/** Items that have been taken are let go when there are so many, or no others. */
const TAKEN = 256;

interface Waiting<T, R> {
  readonly resolve: (result: IteratorResult<T, R>) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * What one producer hands one consumer: items in order, then an end with a result, or an error. The producer never waits.
 * An item costs its consumer one promise: a generator's `yield` would add several, for each token of each stream.
 */
export class EventQueue<T, R = void> {
  private readonly items: T[] = [];
  private taken = 0;
  private outcome: { readonly result: R } | { readonly error: unknown } | null = null;
  private waiting: Waiting<T, R> | null = null;

  /** Adds an item. Mutates; ignored after the end. */
  push(item: T): void {
    if (this.outcome !== null) return;
    this.items.push(item);
    this.wake();
  }

  /** No more items. Mutates; ignored after the end. */
  end(result: R): void {
    this.outcome ??= { result };
    this.wake();
  }

  /** The consumer gets the items that are there, then this error. Mutates; ignored after the end. */
  fail(error: unknown): void {
    this.outcome ??= { error };
    this.wake();
  }

  /** The next item, or the end; rejects with the producer's error. For one consumer, one call at a time. Mutates. */
  next(): Promise<IteratorResult<T, R>> {
    return new Promise((resolve, reject) => {
      this.waiting = { resolve, reject };
      if (this.taken < this.items.length || this.outcome !== null) this.wake();
    });
  }

  private wake(): void {
    const { waiting } = this;
    if (waiting === null) return;
    this.waiting = null;
    if (this.taken < this.items.length) waiting.resolve({ done: false, value: this.take() });
    else if ("error" in this.outcome!) waiting.reject(this.outcome.error);
    else waiting.resolve({ done: true, value: this.outcome!.result });
  }

  private take(): T {
    const item = this.items[this.taken++]!;
    // Not one by one: shifting a long list costs its length each time.
    if (this.taken === this.items.length || this.taken === TAKEN) {
      this.items.splice(0, this.taken);
      this.taken = 0;
    }
    return item;
  }
}

/** A queue as its consumer sees it. */
export class QueueReader<T, R> implements AsyncGenerator<T, R, void> {
  private readonly open: () => EventQueue<T, R>;
  private readonly leave: () => void;
  private queue: EventQueue<T, R> | null = null;
  private ended = false;

  /** `open` is called when the first item is asked for, and may throw; `leave` when the consumer goes before the end. */
  constructor(open: () => EventQueue<T, R>, leave: () => void) {
    this.open = open;
    this.leave = leave;
  }

  next(): Promise<IteratorResult<T, R>> {
    if (this.ended) return Promise.resolve({ done: true, value: undefined as R });
    try {
      this.queue ??= this.open();
    } catch (error) {
      this.ended = true;
      return Promise.reject(error);
    }
    return this.queue.next();
  }

  async return(value: R | PromiseLike<R>): Promise<IteratorResult<T, R>> {
    this.end();
    return { done: true, value: await value };
  }

  async throw(error: unknown): Promise<IteratorResult<T, R>> {
    this.end();
    throw error;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.end();
  }

  private end(): void {
    if (!this.ended && this.queue !== null) this.leave();
    this.ended = true;
  }
}
