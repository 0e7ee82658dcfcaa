import { setTimeout as sleep } from "node:timers/promises";
import type { LoadOrder, Timeline } from "../timeline.ts";
import type { Clock, Question } from "./ask.ts";

/** Asks once; `ask` of ask.ts. */
export type Ask = (question: Question, now: Clock) => Promise<Omit<Timeline, "due">>;

/**
 * Sends each request when it is due, or when there is a place for it, first come, first served. Resolves to what came of them,
 * in their order, once all have ended.
 */
export async function runLoad(order: LoadOrder, ask: Ask, onEnd: (ended: number) => void): Promise<Timeline[]> {
  const began = performance.now();
  const now = () => performance.now() - began;
  const { url, headers, timeoutMs, requests } = order;
  const places = new Places(order.concurrency);
  let ended = 0;
  const answers: Promise<Timeline>[] = [];
  for (const { body, due } of requests) {
    // Timers may be early by a part of a millisecond.
    while (due > now()) await sleep(due - now());
    answers.push(
      places.use(async () => {
        const timeline = await ask({ url, headers, body, timeoutMs }, now);
        onEnd(++ended);
        return { ...timeline, due };
      }),
    );
  }
  return Promise.all(answers);
}

/** So many at the same time; others wait for their turn. */
class Places {
  private free: number;
  private readonly waiting: (() => void)[] = [];

  constructor(places: number | null) {
    this.free = places ?? Number.POSITIVE_INFINITY;
  }

  async use<T>(work: () => Promise<T>): Promise<T> {
    if (this.free > 0) this.free -= 1;
    else await new Promise<void>((resolve) => this.waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.waiting.shift();
      if (next === undefined) this.free += 1;
      else next();
    }
  }
}
