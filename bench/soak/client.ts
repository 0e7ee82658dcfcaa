import { parseEvents } from "./events.ts";
import type { SoakRequest } from "./traffic.ts";

/** When a client leaves: never, after some milliseconds, when the headers are there, or after some events. */
export type Leaving = null | { readonly afterMs: number } | { readonly afterEvents: number };

export interface Choice {
  text: string;
  finishReason: string | null;
  /** Of its tokens: what they spell, and their log-probabilities; empty if not asked for. */
  logprobs: (readonly [token: string, logprob: number])[];
}

export type Outcome =
  | { readonly kind: "answered"; readonly choices: readonly Choice[]; readonly tokens: number }
  | { readonly kind: "left"; readonly choices: readonly Choice[] }
  | { readonly kind: "refused"; readonly status: number; readonly message: string }
  | { readonly kind: "failed"; readonly message: string };

/** How long an answer may take before it counts as lost. */
const LOST_AFTER_MS = 300_000;

/** Asks once. Never rejects. */
export async function ask(url: string, request: SoakRequest, stream: boolean, leaving: Leaving): Promise<Outcome> {
  // One controller for both reasons: Node 20 may collect a signal of AbortSignal.any before it has fired.
  const controller = new AbortController();
  const choices: Choice[] = [];
  let late: NodeJS.Timeout | undefined;
  const lost = new Promise<Outcome>((resolve) => {
    late = setTimeout(() => {
      resolve({ kind: "failed", message: `no answer in ${LOST_AFTER_MS / 1000} s` });
      controller.abort();
    }, LOST_AFTER_MS);
  });
  const leave =
    leaving !== null && "afterMs" in leaving ? setTimeout(() => controller.abort(), leaving.afterMs) : undefined;
  const answer = read(url, request, stream, leaving, choices, controller).catch((error): Outcome => {
    if (controller.signal.aborted) return { kind: "left", choices };
    const { message, cause } = error as Error;
    return { kind: "failed", message: cause instanceof Error ? `${message}: ${cause.message}` : message };
  });
  const outcome = await Promise.race([answer, lost]);
  clearTimeout(late);
  clearTimeout(leave);
  return outcome;
}

async function read(
  url: string,
  request: SoakRequest,
  stream: boolean,
  leaving: Leaving,
  choices: Choice[],
  controller: AbortController,
): Promise<Outcome> {
  const response = await fetch(url + request.path, {
    method: "POST",
    body: JSON.stringify({ ...request.body, stream, ...(stream ? { stream_options: { include_usage: true } } : {}) }),
    signal: controller.signal,
  });
  if (!response.ok) return { kind: "refused", status: response.status, message: (await response.text()).slice(0, 300) };
  if (!stream) return whole((await response.json()) as Body, choices);
  let events = 0;
  let ended = false;
  let tokens = 0;
  for await (const data of parseEvents(response.body!)) {
    if (data === "[DONE]") ended = true;
    else tokens = take(JSON.parse(data) as Body, choices) ?? tokens;
    if (leaving === null || "afterMs" in leaving || events++ < leaving.afterEvents || ended) continue;
    controller.abort();
    return { kind: "left", choices };
  }
  if (!ended) throw new Error("the stream ended without [DONE]");
  return complete(choices, tokens);
}

/** An answer, or a chunk of one, of either endpoint. */
interface Body {
  readonly error?: { readonly message: string };
  readonly choices: readonly {
    readonly index: number;
    readonly text?: string;
    readonly message?: { readonly content: string };
    readonly delta?: { readonly content?: string };
    readonly finish_reason: string | null;
    readonly logprobs?: {
      readonly tokens?: readonly string[];
      readonly token_logprobs?: readonly number[];
      readonly content?: readonly { readonly token: string; readonly logprob: number }[];
    } | null;
  }[];
  readonly usage?: { readonly completion_tokens: number } | null;
}

function whole(body: Body, choices: Choice[]): Outcome {
  return complete(choices, take(body, choices) ?? 0);
}

function complete(choices: readonly Choice[], tokens: number): Outcome {
  const open = choices.findIndex((choice) => choice?.finishReason == null);
  if (choices.length === 0 || open >= 0) return { kind: "failed", message: `choice ${open} has no finish_reason` };
  return { kind: "answered", choices, tokens };
}

/** Adds to the choices what a body brings; returns the tokens that its usage counts, if it has any. */
function take({ error, choices: brought, usage }: Body, choices: Choice[]): number | undefined {
  if (error !== undefined) throw new Error(`an error in the stream: ${error.message}`);
  for (const { index, text, message, delta, finish_reason, logprobs } of brought) {
    choices[index] ??= { text: "", finishReason: null, logprobs: [] };
    const choice = choices[index];
    choice.text += text ?? message?.content ?? delta?.content ?? "";
    choice.finishReason = finish_reason ?? choice.finishReason;
    for (const { token, logprob } of logprobs?.content ?? []) choice.logprobs.push([token, logprob]);
    for (const [i, token] of (logprobs?.tokens ?? []).entries()) {
      choice.logprobs.push([token, logprobs!.token_logprobs![i]!]);
    }
  }
  return usage?.completion_tokens;
}
