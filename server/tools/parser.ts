import { CallScanner } from "./call-scanner.ts";
import type { ToolFormat } from "./formats.ts";

/** What a piece of the model's text gives. */
export type ToolEvent =
  | { readonly kind: "content"; readonly text: string }
  | { readonly kind: "call"; readonly name: string }
  /** Of the last call. */
  | { readonly kind: "arguments"; readonly text: string };

export interface ToolParserOptions {
  readonly format: ToolFormat;
  /** Names of the functions there are: without a mark before it, only an object that names one of them is a call. */
  readonly names: ReadonlySet<string>;
  /** The text begins after the mark, which the prompt has. */
  readonly begun?: boolean;
  /** Calls after so many are left out. */
  readonly mostCalls?: number;
}

type Place = "start" | "text" | "between" | "call";

/**
 * Divides the model's text into content and tool calls, as it comes. However the text is cut into pieces, the events are the
 * same but for how content and arguments are cut. What looks like a call and turns out not to be one is content, if it is
 * found out before its name is known; white space around calls is left out.
 */
export class ToolParser {
  readonly #options: ToolParserOptions;
  #place: Place;
  /** Text that may still become a mark or a call. */
  #held = "";
  /** White space that is content if more content follows, or no call at all. */
  #space = "";
  #call = new CallScanner();
  /** A mark has begun a call, or a list of them. */
  #marked: boolean;
  /** The mark's text, until a call follows. */
  #mark = "";
  #reading = false;
  #calls = 0;

  constructor(options: ToolParserOptions) {
    this.#options = options;
    this.#marked = options.begun ?? false;
    this.#place = this.#marked ? "between" : options.format.bare ? "start" : "text";
  }

  /** Calls that have begun. */
  get calls(): number {
    return Math.min(this.#calls, this.#options.mostCalls ?? this.#calls);
  }

  /** Takes the next piece. Mutates. */
  push(piece: string): ToolEvent[] {
    return this.#run(piece, false);
  }

  /** The end of the text. Mutates. */
  end(): ToolEvent[] {
    const events = this.#run("", true);
    if (this.#place === "call" && !this.#reading) {
      this.#unmark(events);
      this.#content(this.#held, events);
    }
    if (this.#calls === 0 && this.#space !== "") events.push({ kind: "content", text: this.#space });
    return joined(events);
  }

  #run(piece: string, last: boolean): ToolEvent[] {
    const events: ToolEvent[] = [];
    let rest = piece;
    if (this.#place !== "call") {
      rest = this.#held + piece;
      this.#held = "";
    }
    for (;;) {
      const next = this.#step(rest, events, last);
      if (next === null) return joined(events);
      rest = next;
    }
  }

  /** What is left to read after one step; null if more text is needed. */
  #step(text: string, events: ToolEvent[], last: boolean): string | null {
    if (this.#place === "call") return this.#inCall(text, events);
    if (this.#place === "text") return this.#inText(text, events, last);
    return this.#beforeCall(text, last, events);
  }

  /** Text up to the next mark; the end that may be the beginning of one is held. */
  #inText(text: string, events: ToolEvent[], last: boolean): string | null {
    const { begins } = this.#options.format;
    const found = begins.map((mark) => ({ mark, at: text.indexOf(mark) })).filter(({ at }) => at >= 0);
    const [first] = found.sort((a, b) => a.at - b.at);
    if (first !== undefined) {
      this.#content(text.slice(0, first.at), events);
      this.#place = "between";
      this.#marked = true;
      this.#mark = first.mark;
      return text.slice(first.at + first.mark.length);
    }
    const held = last ? 0 : overlap(text, begins);
    this.#content(text.slice(0, text.length - held), events);
    this.#held = text.slice(text.length - held);
    return null;
  }

  /** After a mark or a call, or at the start of a text that may be one. */
  #beforeCall(text: string, last: boolean, events: ToolEvent[]): string | null {
    const { between, ends, begins, bare } = this.#options.format;
    let at = 0;
    while (at < text.length && (this.#place === "start" ? /\s/ : between).test(text[at] as string)) at += 1;
    const rest = text.slice(at);
    const mayBeMark = [...ends, ...begins].some((mark) => mark.length > rest.length && mark.startsWith(rest));
    if (rest === "" || (mayBeMark && !last)) {
      this.#held = text;
      if (last && this.#calls === 0) {
        this.#unmark(events);
        this.#content(text, events);
      }
      return null;
    }
    if (this.#place === "between") {
      const end = ends.find((mark) => rest.startsWith(mark));
      if (end !== undefined) {
        this.#marked = false;
        this.#mark = "";
        return rest.slice(end.length);
      }
    }
    const begin = begins.find((mark) => rest.startsWith(mark));
    if (begin !== undefined) {
      this.#unmark(events);
      this.#place = "between";
      this.#marked = true;
      this.#mark = begin;
      return rest.slice(begin.length);
    }
    if (!rest.startsWith("{") || !(this.#marked || bare)) {
      this.#place = "text";
      this.#unmark(events);
      return this.#calls === 0 ? text : rest;
    }
    if (this.#calls === 0) this.#space += text.slice(0, at);
    this.#place = "call";
    this.#call = new CallScanner();
    this.#reading = false;
    return rest;
  }

  /** The mark was none: it is content. */
  #unmark(events: ToolEvent[]): void {
    const mark = this.#mark;
    this.#mark = "";
    this.#marked = false;
    if (mark !== "") this.#content(mark, events);
  }

  #inCall(text: string, events: ToolEvent[]): string | null {
    if (text === "") return null;
    const progress = this.#call.push(text);
    this.#held += text.slice(0, progress.length);
    if (progress.name !== undefined) {
      if (this.#marked || this.#options.names.has(progress.name)) {
        this.#calls += 1;
        this.#reading = true;
        this.#space = "";
        this.#mark = "";
        this.#emit({ kind: "call", name: progress.name }, events);
      } else return this.#noCall(text.slice(progress.length), events);
    }
    if (this.#reading && progress.arguments !== "") this.#emit({ kind: "arguments", text: progress.arguments }, events);
    if (progress.state === "open") return null;
    if (!this.#reading) return this.#noCall(text.slice(progress.length), events);
    this.#place = "between";
    this.#held = "";
    return text.slice(progress.length);
  }

  /** What was read as a call is text. */
  #noCall(rest: string, events: ToolEvent[]): string {
    const text = this.#held;
    this.#held = "";
    this.#place = "text";
    this.#unmark(events);
    // The brace is passed over, so that the same text is not tried again.
    this.#content(text.slice(0, 1), events);
    return text.slice(1) + rest;
  }

  #emit(event: ToolEvent, events: ToolEvent[]): void {
    if (this.#calls <= (this.#options.mostCalls ?? this.#calls)) events.push(event);
  }

  #content(text: string, events: ToolEvent[]): void {
    const whole = this.#space + text;
    const end = whole.trimEnd().length;
    this.#space = whole.slice(end);
    if (end > 0) events.push({ kind: "content", text: whole.slice(0, end) });
  }
}

/** How much of the text's end is the beginning of one of the marks. */
function overlap(text: string, marks: readonly string[]): number {
  const longest = Math.max(...marks.map((mark) => mark.length - 1));
  for (let length = Math.min(longest, text.length); length > 0; length--) {
    if (marks.some((mark) => mark.startsWith(text.slice(-length)))) return length;
  }
  return 0;
}

/** Neighbouring pieces of the same kind as one. */
function joined(events: readonly ToolEvent[]): ToolEvent[] {
  const whole: ToolEvent[] = [];
  for (const event of events) {
    const before = whole.at(-1);
    if (event.kind !== "call" && before?.kind === event.kind) {
      whole[whole.length - 1] = { kind: event.kind, text: before.text + event.text };
    } else whole.push(event);
  }
  return whole;
}
