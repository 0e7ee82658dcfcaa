import { chunksOf, eventData } from "./event-stream.ts";
import type { Stats } from "./stats.ts";
import type { Message } from "./turns.ts";

/** The server said no, or nothing; the message is for people. */
export class ApiFailure extends Error {
  override readonly name = "ApiFailure";
  /** 0 if there was no answer. */
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** What a streamed answer tells, as it comes. */
export type AnswerEvent =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "finish"; readonly reason: string }
  | { readonly kind: "usage"; readonly promptTokens: number; readonly tokens: number };

/** Relative, so that the page also works under a path of a proxy. */
async function ask(path: string, key: string, init: RequestInit = {}): Promise<Response> {
  const headers = { ...init.headers, ...(key === "" ? {} : { authorization: `Bearer ${key}` }) };
  let response: Response;
  try {
    response = await fetch(path, { ...init, headers });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ApiFailure(0, "The server cannot be reached.");
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  throw new ApiFailure(response.status, body?.error?.message ?? `The server answered ${response.status}.`);
}

export async function getStats(key: string): Promise<Stats> {
  return (await ask("v1/sparq/stats", key)).json();
}

/** The tokens of a text, as a part of a message. */
export async function countTokens(prompt: string, key: string, signal: AbortSignal): Promise<number> {
  const response = await ask("tokenize", key, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ prompt, add_special_tokens: false, parse_special: false }),
    signal,
  });
  return (await response.json()).count;
}

/** Streams the answer to a conversation. Throws ApiFailure, also for an error in the middle of the stream. */
export async function* streamAnswer(
  messages: readonly Message[],
  fields: object,
  key: string,
  signal: AbortSignal,
): AsyncGenerator<AnswerEvent, void, void> {
  const response = await ask("v1/chat/completions", key, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ ...fields, messages, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  let done = false;
  try {
    for await (const data of eventData(chunksOf(response.body!))) {
      if (data === "[DONE]") done = true;
      else yield* answerEvents(JSON.parse(data));
    }
  } catch (error) {
    if (signal.aborted || error instanceof ApiFailure) throw error;
    throw new ApiFailure(0, "The connection broke in the middle of the answer.");
  }
  if (!done) throw new ApiFailure(0, "The connection ended in the middle of the answer.");
}

// biome-ignore lint/suspicious/noExplicitAny: JSON of the server's, which has checked it against its own schema
function* answerEvents(chunk: any): Generator<AnswerEvent, void, void> {
  if (chunk.error) throw new ApiFailure(500, chunk.error.message);
  const { prompt_tokens, completion_tokens } = chunk.usage ?? {};
  if (chunk.usage) yield { kind: "usage", promptTokens: prompt_tokens, tokens: completion_tokens };
  for (const { delta, finish_reason } of chunk.choices) {
    // The first chunk has the role and no token.
    if (typeof delta.content === "string" && !delta.role) yield { kind: "text", text: delta.content };
    if (finish_reason) yield { kind: "finish", reason: finish_reason };
  }
}
