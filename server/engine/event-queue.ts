/** What one producer hands one consumer: items in order, then an end or an error. The producer never waits. */
export class EventQueue<T> {
  private readonly items: T[] = [];
  private outcome: { readonly error?: unknown } | null = null;
  private wake: (() => void) | null = null;

  /** Adds an item. Mutates; ignored after the end. */
  push(item: T): void {
    if (this.outcome !== null) return;
    this.items.push(item);
    this.notify();
  }

  /** No more items. Mutates; ignored after the end. */
  end(): void {
    this.outcome ??= {};
    this.notify();
  }

  /** The consumer gets the items that are there, then this error. Mutates; ignored after the end. */
  fail(error: unknown): void {
    this.outcome ??= { error };
    this.notify();
  }

  /** The items in order; ends or throws as the producer said. For one consumer. */
  async *drain(): AsyncGenerator<T, void, void> {
    for (;;) {
      // All at once: shifting a long list costs its length each time.
      for (const item of this.items.splice(0)) yield item;
      if (this.items.length > 0) continue;
      if (this.outcome !== null) {
        if ("error" in this.outcome) throw this.outcome.error;
        return;
      }
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
  }

  private notify(): void {
    this.wake?.();
    this.wake = null;
  }
}
