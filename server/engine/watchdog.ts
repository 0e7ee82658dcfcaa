/** A step that takes too long, while it does. */
export interface StuckStep {
  /** What it runs. */
  readonly description: string;
  /** How long it has taken by now. */
  readonly seconds: number;
}

/** Notices a step that does not end. It cannot end it: native code runs to its end. */
export class Watchdog {
  private readonly limit: number;
  private readonly now: () => number;
  private readonly onStuck: (step: StuckStep) => void;
  private timer: NodeJS.Timeout | undefined;
  private step: { readonly description: () => string; readonly started: number; stuck: boolean } | null = null;

  /** `onStuck` is called once for each step that takes longer than `limit` seconds; Infinity: none does. */
  constructor(limit: number, now: () => number, onStuck: (step: StuckStep) => void) {
    this.limit = limit;
    this.now = now;
    this.onStuck = onStuck;
  }

  /** The step that is over the limit now, if one is. Does not mutate. */
  get stuck(): StuckStep | null {
    if (this.step === null || !this.step.stuck) return null;
    return { description: this.step.description(), seconds: this.now() - this.step.started };
  }

  begin(description: () => string, started = this.now()): void {
    this.step = { description, started, stuck: false };
    if (this.limit === Number.POSITIVE_INFINITY) return;
    this.timer = setTimeout(() => {
      this.step!.stuck = true;
      this.onStuck(this.stuck!);
    }, this.limit * 1000);
    this.timer.unref();
  }

  /** Returns what was stuck, now that it no longer is; null if nothing was. */
  end(): StuckStep | null {
    clearTimeout(this.timer);
    const { stuck } = this;
    this.step = null;
    return stuck;
  }
}
