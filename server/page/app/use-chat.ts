import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { streamAnswer } from "./api.ts";
import { interval, type Sample } from "./stats.ts";
import { load, save } from "./storage.ts";
import { type Message, restoreTurns, type Turn } from "./turns.ts";

const STORED = "sparq.turns";

export interface ChatOptions {
  readonly key: string;
  readonly messagesOf: (turns: readonly Turn[]) => Message[];
  readonly fields: object;
  /** Takes a sample of the server's sums. */
  readonly sample: () => Promise<Sample | null>;
}

/** The conversation, kept over reloads, and what changes it. One answer runs at a time. */
export function useChat(options: ChatOptions) {
  const [turns, setTurns] = useState<readonly Turn[]>(() => restoreTurns(load("localStorage", STORED)));
  const current = useRef(turns);
  const abort = useRef<AbortController | null>(null);
  const latest = useRef(options);
  latest.current = options;
  const running = turns.at(-1)?.state === "running";

  const change = useCallback((next: readonly Turn[]) => {
    current.current = next;
    setTurns(next);
  }, []);
  // Not for every token: once when an answer begins and once when it has ended.
  useEffect(() => {
    save("localStorage", STORED, current.current);
  }, [turns.length, running]);
  useEffect(() => {
    // What is on the screen when the page goes is kept, too.
    const keep = () => save("localStorage", STORED, current.current);
    addEventListener("pagehide", keep);
    return () => removeEventListener("pagehide", keep);
  }, []);

  const run = useCallback(async (before: readonly Turn[], question: string) => {
    const controller = new AbortController();
    abort.current = controller;
    const id = (before.at(-1)?.id ?? 0) + 1;
    let turn: Turn = { id, question, answer: "", state: "running" };
    const update = (changes: Partial<Turn>) => {
      // A cleared conversation has no place for it.
      if (controller !== abort.current) return;
      turn = { ...turn, ...changes };
      change([...before, turn]);
    };
    update({});
    try {
      await answer([...before, turn], latest.current, controller.signal, update);
    } catch (error) {
      if (controller.signal.aborted) update({ state: "stopped" });
      else update({ state: "failed", error: (error as Error).message });
    }
  }, []);

  return {
    turns,
    running,
    send: (question: string) => run(current.current, question),
    /** Asks the last question again. */
    retry: () => run(current.current.slice(0, -1), current.current.at(-1)!.question),
    stop: () => abort.current?.abort(),
    clear: () => {
      abort.current?.abort();
      abort.current = null;
      change([]);
    },
  };
}

/** Streams an answer into its turn and measures it. Throws what streamAnswer throws. */
async function answer(
  turns: readonly Turn[],
  { key, fields, messagesOf, sample }: ChatOptions,
  signal: AbortSignal,
  update: (changes: Partial<Turn>) => void,
): Promise<void> {
  const started = performance.now();
  let first = 0;
  let last = 0;
  let tokens = 0;
  let text = "";
  let promptTokens: number | null = null;
  let finish = "stop";
  let afterFirst: Promise<Sample | null> = Promise.resolve(null);
  const measures = (ratio: number | null) => {
    const tokensPerSecond = tokens > 1 && last > first ? ((tokens - 1) / (last - first)) * 1000 : null;
    return { ttft: first - started, promptTokens, tokens, tokensPerSecond, ratio };
  };
  const paint = painter(() => update({ answer: text, measures: measures(null) }));
  try {
    for await (const event of streamAnswer(messagesOf(turns), fields, key, signal)) {
      if (event.kind === "usage") promptTokens = event.promptTokens;
      else if (event.kind === "finish") finish = event.reason;
      else {
        last = performance.now();
        tokens += 1;
        text += event.text;
        if (tokens === 1) {
          first = last;
          afterFirst = sample();
        }
        paint.soon();
      }
    }
    update({ state: finish === "length" ? "cut" : "done" });
  } finally {
    paint.cancel();
    if (tokens > 0) update({ answer: text, measures: measures(null) });
    // The numbers come a moment after the text; nobody waits for them.
    Promise.all([afterFirst, sample()]).then(([before, after]) => {
      const ratio = before && after ? (interval(before, after)?.ratio ?? null) : null;
      if (tokens > 0) update({ measures: measures(ratio) });
    });
  }
}

/** Once a frame at most, however fast tokens come. */
function painter(paint: () => void) {
  let frame: number | null = null;
  return {
    soon: () => {
      frame ??= requestAnimationFrame(() => {
        frame = null;
        paint();
      });
    },
    cancel: () => {
      if (frame !== null) cancelAnimationFrame(frame);
    },
  };
}
