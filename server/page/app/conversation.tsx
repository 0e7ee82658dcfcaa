import type { ComponentChild } from "preact";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { duration, number, rate } from "./format.ts";
import { markdown, plain } from "./markdown.tsx";
import type { Measures, Turn } from "./turns.ts";

export interface ConversationProps {
  readonly turns: readonly Turn[];
  readonly running: boolean;
  readonly onRetry: () => void;
}

/** Distance from the end within which the view follows an answer as it grows, in pixels. */
const FOLLOW = 80;

export function Conversation({ turns, running, onRetry }: ConversationProps) {
  const scroller = useRef<HTMLElement>(null);
  const following = useRef(true);
  const last = turns.at(-1);
  useEffect(() => {
    const box = scroller.current!;
    if (following.current) box.scrollTop = box.scrollHeight;
  }, [last]);
  // A new question is always shown.
  useEffect(() => {
    following.current = true;
    scroller.current!.scrollTop = scroller.current!.scrollHeight;
  }, [last?.id]);
  const onScroll = () => {
    const { scrollHeight, scrollTop, clientHeight } = scroller.current!;
    following.current = scrollHeight - scrollTop - clientHeight < FOLLOW;
  };
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by keyboard
    <section class="scroller" ref={scroller} onScroll={onScroll} tabIndex={0} aria-label="Conversation">
      {/* Read out when it is whole, not token by token. */}
      <div class="turns" role="log" aria-live="polite" aria-busy={running}>
        {turns.map((turn, i) => (
          <TurnView key={turn.id} turn={turn} onRetry={i === turns.length - 1 ? onRetry : null} />
        ))}
      </div>
    </section>
  );
}

function TurnView({ turn, onRetry }: { readonly turn: Turn; readonly onRetry: (() => void) | null }) {
  const { question, answer, state, error, measures } = turn;
  const body = useMarkdown(answer, state === "running");
  return (
    <article class="turn">
      <div class="question">
        <span class="hidden">You:</span>
        {question}
      </div>
      <div class={`answer ${state}`}>
        <span class="hidden">Answer:</span>
        {answer === "" && state === "running" ? <Waiting /> : <div class="markdown">{body}</div>}
        {state === "failed" && (
          <p class="error" role="alert">
            {error}
          </p>
        )}
        <footer>
          <span class="measures">{footnote(turn.state, measures)}</span>
          {onRetry && state !== "running" && (
            <button type="button" class="quiet" onClick={onRetry}>
              {state === "failed" ? "Try again" : "Ask again"}
            </button>
          )}
        </footer>
      </div>
    </article>
  );
}

/** Longest that reading Markdown may take for each frame of an answer that grows, milliseconds. */
const FRAME_SHARE = 40;

/** The text as Markdown; while it grows, as it is once that takes too long: some texts take seconds. */
function useMarkdown(text: string, growing: boolean): ComponentChild {
  const slow = useRef(false);
  return useMemo(() => {
    if (growing && slow.current) return plain(text);
    const started = performance.now();
    const body = markdown(text);
    slow.current = performance.now() - started > FRAME_SHARE;
    return body;
  }, [text, growing]);
}

function Waiting() {
  return (
    <p class="waiting">
      <span class="dot" />
      Reading the prompt
    </p>
  );
}

function footnote(state: Turn["state"], measures: Measures | undefined): string {
  const parts: string[] = [];
  if (state === "stopped") parts.push("stopped");
  if (state === "cut") parts.push("cut at the token limit");
  if (measures) {
    const { promptTokens, tokens, tokensPerSecond, ttft, ratio } = measures;
    if (promptTokens !== null) parts.push(`${number(promptTokens)} prompt tokens`);
    parts.push(`${number(tokens)} new`);
    if (tokensPerSecond !== null) parts.push(`${rate(tokensPerSecond)} tokens/s`);
    parts.push(`first after ${duration(ttft)}`);
    if (ratio !== null) parts.push(`cache read ${number(ratio, 2)}× dense`);
  }
  return parts.join(" · ");
}
