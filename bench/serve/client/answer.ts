import { createParser } from "eventsource-parser";
import type { Fault, Timeline } from "../timeline.ts";

/** What the events of both endpoints have in common; all of it may be absent, or anything else. */
interface Event {
  readonly error?: unknown;
  readonly choices?: readonly (Choice | null)[] | null;
  readonly usage?: Usage | null;
}

interface Usage {
  readonly prompt_tokens?: unknown;
  readonly completion_tokens?: unknown;
  readonly prompt_tokens_details?: { readonly cached_tokens?: unknown } | null;
}

interface Choice {
  readonly text?: unknown;
  readonly delta?: Readonly<Record<string, unknown>> | null;
  readonly finish_reason?: unknown;
}

/** Fields of a chat's delta in which answers come; the last two are those of models that think first. */
const TEXTS = ["content", "reasoning_content", "reasoning"] as const;

/** A streamed answer, put together as its bytes arrive. */
export class Answer {
  readonly chunks: number[] = [];
  deltas = 0;
  characters = 0;
  finishReason: string | null = null;
  done = false;
  promptTokens: number | null = null;
  completionTokens: number | null = null;
  cachedTokens: number | null = null;
  fault: Fault | null = null;
  private now = 0;
  private over = false;
  private readonly parser = createParser({ onEvent: ({ data }) => this.take(data) });

  /** Text that arrived at a time: any part of the stream. Never throws. Mutates. */
  feed(text: string, now: number): void {
    this.now = now;
    this.parser.feed(text);
  }

  /** The stream has ended: takes an event whose blank line is missing. Mutates. */
  end(): void {
    this.over = true;
    this.parser.feed("\n\n");
  }

  parts(): Omit<Timeline, "due" | "sent" | "ended" | "resent"> {
    const { chunks, deltas, characters, finishReason, done, promptTokens, completionTokens, cachedTokens, fault } =
      this;
    return { chunks, deltas, characters, finishReason, done, promptTokens, completionTokens, cachedTokens, fault };
  }

  private take(data: string): void {
    if (data === "[DONE]") {
      this.done = true;
      return;
    }
    let event: Event;
    try {
      event = JSON.parse(data);
    } catch {
      // What a stream that was cut off ends with is known by its missing [DONE].
      if (!this.over) this.fault ??= { kind: "malformed event", detail: data.slice(0, 300) };
      return;
    }
    if (typeof event !== "object" || event === null) {
      this.fault ??= { kind: "malformed event", detail: data.slice(0, 300) };
      return;
    }
    if (event.error != null) this.fault ??= { kind: "error in the stream", detail: messageOf(event.error) };
    const choice = Array.isArray(event.choices) ? event.choices[0] : undefined;
    if (choice != null) this.takeChoice(choice);
    if (event.usage != null) this.takeUsage(event.usage);
  }

  private takeChoice({ text, delta, finish_reason }: Choice): void {
    this.chunks.push(this.now);
    const brought = [text, ...TEXTS.map((name) => delta?.[name])].find((one) => typeof one === "string" && one !== "");
    if (typeof brought === "string") {
      this.deltas += 1;
      this.characters += brought.length;
    }
    if (typeof finish_reason === "string") this.finishReason = finish_reason;
  }

  private takeUsage({ prompt_tokens, completion_tokens, prompt_tokens_details }: Usage): void {
    const known = (value: unknown, before: number | null) => (typeof value === "number" ? value : before);
    this.promptTokens = known(prompt_tokens, this.promptTokens);
    this.completionTokens = known(completion_tokens, this.completionTokens);
    this.cachedTokens = known(prompt_tokens_details?.cached_tokens, this.cachedTokens);
  }
}

function messageOf(error: unknown): string {
  const { message } = error as { message?: unknown };
  return typeof message === "string" ? message.slice(0, 300) : JSON.stringify(error).slice(0, 300);
}
