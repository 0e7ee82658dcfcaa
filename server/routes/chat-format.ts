import { randomBytes } from "node:crypto";
import type { ChoiceEvent } from "../choices.ts";
import type { FinishReason, TokenEvent } from "../engine/types.ts";
import { chatLogprobs } from "../logprobs.ts";
import type { Serving } from "../serving.ts";
import { type ToolEvent, ToolParser } from "../tools/parser.ts";
import type { ToolUse } from "../tools/tool-use.ts";
import type { AnswerFormat, WholeChoice } from "./answer.ts";
import { withUsage } from "./completions.ts";

/** How /v1/chat/completions writes answers; `tools` says how they may call tools. */
export function chatFormat(id: string, { name: model, tokenizer }: Serving, tools: ToolUse | null): AnswerFormat {
  const created = Math.floor(Date.now() / 1000);
  const delta = (index: number, delta: object, finishReason: string | null = null, logprobs: object | null = null) => {
    return { index, delta, logprobs, finish_reason: finishReason };
  };
  const role = (index: number) => delta(index, { role: "assistant", content: "" });
  const envelope = (object: string, choices: readonly object[]) => ({ id, object, created, model, choices });
  const streams = new Map<number, ToolStream>();
  const streamOf = (index: number, use: ToolUse) => {
    const stream = streams.get(index) ?? new ToolStream(use);
    streams.set(index, stream);
    return stream;
  };
  /** A token's deltas, of which the first has its log-probabilities, and its choice's finish reason. */
  const tokenDeltas = ({ index, event }: ChoiceEvent): { deltas: object[]; finishReason: string | null } => {
    if (tools === null) return { deltas: [{ content: event.text }], finishReason: event.finishReason };
    const stream = streamOf(index, tools);
    return { deltas: stream.push(event), finishReason: stream.finishReason(event.finishReason) };
  };
  return {
    tokenChunks: (choice, first) => {
      const { index, event } = choice;
      const { deltas, finishReason } = tokenDeltas(choice);
      const logprobs = chatLogprobs(tokenizer, [event]);
      const shown = deltas.length === 0 && logprobs !== null ? [{ content: "" }] : deltas;
      return [
        ...(first ? [role(index)] : []),
        ...shown.map((part, i) => delta(index, part, null, i === 0 ? logprobs : null)),
        ...(finishReason === null ? [] : [delta(index, {}, finishReason)]),
      ];
    },
    emptyChunks: (index) => [role(index), delta(index, {}, "length")],
    chunk: (choice, usage) => withUsage(envelope("chat.completion.chunk", choice === null ? [] : [choice]), usage),
    whole: (choices, usage) => {
      const whole = choices.map((choice) => ({
        index: choice.index,
        ...wholeMessage(choice, tools),
        logprobs: chatLogprobs(tokenizer, choice.events),
      }));
      return { ...envelope("chat.completion", whole), usage };
    },
  };
}

function wholeMessage({ text, finishReason }: WholeChoice, tools: ToolUse | null) {
  if (tools === null) {
    return { message: { role: "assistant", content: text, refusal: null }, finish_reason: finishReason };
  }
  const stream = new ToolStream(tools);
  let content = "";
  const calls: { id: string; type: string; function: { name: string; arguments: string } }[] = [];
  for (const event of stream.events(text, true)) {
    if (event.kind === "content") content += event.text;
    else if (event.kind === "call") {
      calls.push({ id: stream.newId(), type: "function", function: { name: event.name, arguments: "" } });
    } else calls.at(-1)!.function.arguments += event.text;
  }
  const called = calls.length > 0 ? { tool_calls: calls } : {};
  const shown = content === "" && calls.length > 0 ? null : content;
  return {
    message: { role: "assistant", content: shown, refusal: null, ...called },
    finish_reason: stream.finishReason(finishReason),
  };
}

/** One choice's text as it comes, divided into content and calls. */
class ToolStream {
  readonly #use: ToolUse;
  readonly #parser: ToolParser;
  #calls = 0;

  constructor(use: ToolUse) {
    const { format, names, forced, mostCalls } = use;
    this.#use = use;
    this.#parser = new ToolParser({ format, names, begun: forced, ...(mostCalls === undefined ? {} : { mostCalls }) });
  }

  events(text: string, last: boolean): ToolEvent[] {
    return [...this.#parser.push(text), ...(last ? this.#parser.end() : [])];
  }

  /** A token's part as deltas. Mutates. */
  push({ text, finishReason }: TokenEvent): object[] {
    return this.events(text, finishReason !== null).map((event) => {
      if (event.kind === "content") return { content: event.text };
      if (event.kind === "call") {
        this.#calls += 1;
        const called = { name: event.name, arguments: "" };
        return { tool_calls: [{ index: this.#calls - 1, id: this.newId(), type: "function", function: called }] };
      }
      return { tool_calls: [{ index: this.#calls - 1, function: { arguments: event.text } }] };
    });
  }

  finishReason(reason: FinishReason): string;
  finishReason(reason: FinishReason | null): string | null;
  finishReason(reason: FinishReason | null): string | null {
    return reason === "stop" && this.#parser.calls > 0 ? "tool_calls" : reason;
  }

  /** Mistral's templates take ids of nine letters and digits only. */
  newId(): string {
    const hex = randomBytes(12).toString("hex");
    return this.#use.format.name === "mistral" ? hex.slice(0, 9) : `call_${hex}`;
  }
}
