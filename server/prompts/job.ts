import { ChatTemplateError } from "../chat-template.ts";
import { EngineError, type EngineErrorCode } from "../engine/errors.ts";
import type { ChatMessage, ChatTemplateOptions, EncodeOptions, Tokenizer } from "../engine/types.ts";

/** Text to make token ids of: texts of their own, or a conversation. Plain data, to be sent to a thread. */
export type PromptJob =
  | { readonly kind: "texts"; readonly texts: readonly string[]; readonly options: EncodeOptions }
  | { readonly kind: "chat"; readonly messages: readonly ChatMessage[]; readonly options: ChatTemplateOptions };

/** The token ids of each text, or of the one conversation. Throws what the tokenizer throws. */
export function runJob(tokenizer: Tokenizer, job: PromptJob): number[][] {
  if (job.kind === "chat") return [tokenizer.applyChatTemplate(job.messages, job.options)];
  return job.texts.map((text) => tokenizer.encode(text, job.options));
}

/** What a thread answers. */
export type JobReply = { readonly ids: readonly Int32Array[] } | { readonly error: PackedError };

/** An error as plain data, so that what it says about the request survives the way between threads. */
export type PackedError =
  | { readonly kind: "template"; readonly message: string }
  | { readonly kind: "engine"; readonly message: string; readonly code: EngineErrorCode }
  | { readonly kind: "other"; readonly message: string; readonly stack: string | undefined };

export function packError(error: unknown): PackedError {
  if (error instanceof ChatTemplateError) return { kind: "template", message: error.message };
  if (error instanceof EngineError) return { kind: "engine", message: error.message, code: error.code };
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  return { kind: "other", message, stack };
}

export function unpackError(packed: PackedError): Error {
  if (packed.kind === "template") return new ChatTemplateError(packed.message);
  if (packed.kind === "engine") return new EngineError(packed.code, packed.message);
  const error = new Error(packed.message);
  if (packed.stack !== undefined) error.stack = packed.stack;
  return error;
}
