import type { ChatMessage, ChatTemplateOptions } from "./engine/types.ts";
import { apiErrors } from "./errors.ts";
import { encodePrompt } from "./requests.ts";
import type { Message } from "./schemas/messages.ts";
import type { Serving } from "./serving.ts";
import { knowsTools, toolFormats } from "./tools/formats.ts";

/** What a prompt says of tools. */
export interface ToolRendering extends Pick<ChatTemplateOptions, "tools" | "answer"> {
  /** Goes into a system message. */
  readonly instruction?: string;
}

/**
 * A request's messages as templates know them: their content is text, and the arguments of calls are values rather than
 * JSON. Throws ApiError for arguments that are no JSON.
 */
export function templateMessages(messages: readonly Message[]): ChatMessage[] {
  return messages.map(({ role, content, name, reasoning_content, tool_calls, tool_call_id }, index) => {
    const text = typeof content === "string" ? content : (content ?? []).map((part) => part.text ?? part.refusal);
    const calls = tool_calls?.map((call, i) => templateCall(call, `messages[${index}].tool_calls[${i}]`));
    return {
      role,
      content: typeof text === "string" ? text : text.join("\n"),
      ...(typeof name === "string" ? { name } : {}),
      ...(typeof reasoning_content === "string" ? { reasoning_content } : {}),
      ...(calls?.length ? { tool_calls: calls } : {}),
      ...(typeof tool_call_id === "string" ? { tool_call_id } : {}),
    };
  });
}

function templateCall({ id, function: called }: NonNullable<Message["tool_calls"]>[number], path: string) {
  try {
    const values: unknown = JSON.parse(called.arguments);
    return { ...(id ? { id } : {}), type: "function", function: { name: called.name, arguments: values } };
  } catch (error) {
    const param = `${path}.function.arguments`;
    throw apiErrors.invalidValue(param, `${param}: is no JSON: ${(error as Error).message}`);
  }
}

/** The token ids of a conversation. `limited`: refuse early what is far over the context. Throws ApiError. */
export function encodeMessages(
  messages: readonly Message[],
  { prompts, contextLength, tokenizer, toolCallParser }: Serving,
  options: ToolRendering & { readonly addGenerationPrompt: boolean; readonly limited: boolean },
  signal: AbortSignal,
): Promise<number[]> {
  const { limited, instruction, ...others } = options;
  const rendering = { ...others, ...(limited ? { contextLength } : {}) };
  const known = knowsTools(tokenizer.info.chatTemplate ?? "");
  const { argumentsKey } = toolFormats[toolCallParser ?? "llama3_json"];
  const shown = templateMessages(messages).map((message) =>
    known ? message : withCallsWritten(message, argumentsKey),
  );
  const given = withInstruction(shown, instruction);
  return encodePrompt(prompts.applyChatTemplate(given, rendering, signal), "messages", signal);
}

/** For a template that knows no tools: calls as text, as the model was made to write them. */
function withCallsWritten({ tool_calls: calls, ...message }: ChatMessage, argumentsKey: string): ChatMessage {
  if (!Array.isArray(calls)) return message;
  const written = (calls as ReturnType<typeof templateCall>[]).map(({ function: { name, arguments: values } }) => {
    return `{"name": ${JSON.stringify(name)}, "${argumentsKey}": ${JSON.stringify(values)}}`;
  });
  return { ...message, content: [message.content, written.join("; ")].filter((text) => text !== "").join("\n") };
}

function withInstruction(messages: readonly ChatMessage[], instruction: string | undefined): readonly ChatMessage[] {
  if (instruction === undefined) return messages;
  const [first, ...rest] = messages;
  if (first?.role !== "system" && first?.role !== "developer") {
    return [{ role: "system", content: instruction }, ...messages];
  }
  return [{ ...first, content: `${first.content}\n\n${instruction}` }, ...rest];
}
