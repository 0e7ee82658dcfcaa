/** Seconds since it was made, and of each part in turn. */
export class Stopwatch {
  readonly #started: number;
  #last: number;
  readonly #now: () => number;
  readonly #laps: Record<string, number> = {};

  /** @param now milliseconds */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#started = now();
    this.#last = this.#started;
  }

  /** What has passed since the lap before was `name`. */
  lap(name: string): void {
    const now = this.#now();
    this.#laps[name] = (this.#laps[name] ?? 0) + (now - this.#last) / 1000;
    this.#last = now;
  }

  get laps(): Readonly<Record<string, number>> {
    return { ...this.#laps };
  }

  get seconds(): number {
    return (this.#now() - this.#started) / 1000;
  }
}
