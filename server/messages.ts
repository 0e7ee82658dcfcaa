import type { ChatMessage } from "./engine/types.ts";
import { encodePrompt } from "./requests.ts";
import type { Message } from "./schemas/messages.ts";
import type { Serving } from "./serving.ts";

/** A request's messages as templates know them: their content is text. */
export function templateMessages(messages: readonly Message[]): ChatMessage[] {
  return messages.map(({ role, content, name }) => {
    const text = typeof content === "string" ? content : (content ?? []).map((part) => part.text ?? part.refusal);
    return {
      role,
      content: typeof text === "string" ? text : text.join("\n"),
      ...(typeof name === "string" ? { name } : {}),
    };
  });
}

/** The token ids of a conversation. `limited`: refuse early what is far over the context. Throws ApiError. */
export function encodeMessages(
  messages: readonly Message[],
  { prompts, contextLength }: Serving,
  options: { readonly addGenerationPrompt: boolean; readonly limited: boolean },
  signal: AbortSignal,
): Promise<number[]> {
  const { addGenerationPrompt, limited } = options;
  const rendering = { addGenerationPrompt, ...(limited ? { contextLength } : {}) };
  return encodePrompt(prompts.applyChatTemplate(templateMessages(messages), rendering, signal), "messages", signal);
}
