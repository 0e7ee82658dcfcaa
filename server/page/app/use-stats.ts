import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { ApiFailure, getStats } from "./api.ts";
import { type Interval, interval, type Sample, type Stats } from "./stats.ts";

/** How long the plots look back. */
export const HISTORY_SECONDS = 120;
const POLL_MS = 1000;
const POLL_RUNNING_MS = 500;
/** What is shorter makes spikes of single tokens, seconds. */
const SHORTEST = 0.25;

export interface Point extends Interval {
  /** When it ended, milliseconds as in performance.now(). */
  readonly at: number;
}

export interface ServerView {
  /** The last stats that came; null before. */
  readonly stats: Stats | null;
  readonly failure: ApiFailure | null;
  readonly history: readonly Point[];
}

/** The server's numbers, asked for again and again while the page is seen. `sample` asks at once. */
export function useStats(
  key: string,
  running: boolean,
): ServerView & { readonly sample: () => Promise<Sample | null> } {
  const [view, setView] = useState<ServerView>({ stats: null, failure: null, history: [] });
  /** Where the next point of the history begins. */
  const last = useRef<Sample | null>(null);

  const sample = useCallback(async (): Promise<Sample | null> => {
    try {
      const stats = await getStats(key);
      setView((before) => ({ ...before, stats, failure: null }));
      return { at: performance.now(), stats };
    } catch (error) {
      const failure = error instanceof ApiFailure ? error : new ApiFailure(0, String(error));
      setView((before) => ({ ...before, failure }));
      return null;
    }
  }, [key]);

  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let ended = false;
    const poll = async () => {
      const now = document.hidden ? null : await sample();
      if (ended) return;
      if (now !== null) record(now);
      timer = setTimeout(poll, running ? POLL_RUNNING_MS : POLL_MS);
    };
    const record = (now: Sample) => {
      const past = last.current && interval(last.current, now);
      if (past && past.seconds < SHORTEST) return;
      last.current = now;
      if (past) setView((before) => ({ ...before, history: extend(before.history, { ...past, at: now.at }) }));
    };
    poll();
    return () => {
      ended = true;
      clearTimeout(timer);
    };
  }, [sample, running]);

  return { ...view, sample };
}

function extend(history: readonly Point[], point: Point): Point[] {
  const oldest = point.at - HISTORY_SECONDS * 1000;
  return [...history.filter(({ at }) => at >= oldest), point];
}
