import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { ApiFailure, getStats } from "./api.ts";
import { type Interval, interval, type Sample, type Stats } from "./stats.ts";

/** How long the plots look back. */
export const HISTORY_SECONDS = 120;
const POLL_MS = 1000;
const POLL_RUNNING_MS = 500;

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

/** The server's numbers, asked for again and again while the page is seen. `refresh` asks at once. */
export function useStats(
  key: string,
  running: boolean,
): ServerView & { readonly refresh: () => Promise<Sample | null> } {
  const [view, setView] = useState<ServerView>({ stats: null, failure: null, history: [] });
  const last = useRef<Sample | null>(null);

  const refresh = useCallback(async () => {
    try {
      const stats = await getStats(key);
      const sample = { at: performance.now(), stats };
      const past = last.current && interval(last.current, sample);
      last.current = sample;
      setView(({ history }) => ({
        stats,
        failure: null,
        history: past ? extend(history, { ...past, at: sample.at }) : history,
      }));
      return sample;
    } catch (error) {
      setView((before) => ({
        ...before,
        failure: error instanceof ApiFailure ? error : new ApiFailure(0, String(error)),
      }));
      return null;
    }
  }, [key]);

  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let ended = false;
    const poll = async () => {
      clearTimeout(timer);
      if (!document.hidden) await refresh();
      if (!ended) timer = setTimeout(poll, running ? POLL_RUNNING_MS : POLL_MS);
    };
    poll();
    return () => {
      ended = true;
      clearTimeout(timer);
    };
  }, [refresh, running]);

  return { ...view, refresh };
}

function extend(history: readonly Point[], point: Point): Point[] {
  const oldest = point.at - HISTORY_SECONDS * 1000;
  return [...history.filter(({ at }) => at >= oldest), point];
}
