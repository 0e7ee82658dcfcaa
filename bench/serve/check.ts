import type { Fault, Timeline } from "./timeline.ts";

/** What was asked for, and what the server is known to take. */
export interface Expectation {
  readonly outputTokens: number;
  /** Whether answers must not end before. */
  readonly ignoreEos: boolean;
  /** Whether answers bring their usage. */
  readonly usage: boolean;
}

/** Why an answer does not count; null for a sound one. What broke it off comes first, then what is missing, then what is wrong. */
export function faultOf(timeline: Timeline, expected: Expectation): Fault | null {
  const { chunks, deltas, characters, finishReason, done, completionTokens, fault } = timeline;
  if (fault !== null) return fault;
  const so = `after ${chunks.length} chunks, ${characters} characters`;
  if (!done) return { kind: "no [DONE]", detail: `the stream ended ${so}` };
  if (chunks.length === 0) return { kind: "no choices", detail: "no event had any" };
  if (finishReason === null) return { kind: "no finish_reason", detail: so };
  if (finishReason !== "stop" && finishReason !== "length")
    return { kind: `finish_reason ${finishReason}`, detail: so };
  if (characters === 0) return { kind: "empty text", detail: `${chunks.length} chunks, finish_reason ${finishReason}` };
  if (completionTokens === null && expected.usage) return { kind: "no usage", detail: so };
  return wrongLength(finishReason, completionTokens, deltas, expected);
}

function wrongLength(
  finishReason: "stop" | "length",
  tokens: number | null,
  deltas: number,
  { outputTokens, ignoreEos }: Expectation,
): Fault | null {
  const detail = `${tokens ?? "an unknown number"} of ${outputTokens} tokens, finish_reason ${finishReason}`;
  if (ignoreEos && (finishReason === "stop" || (tokens !== null && tokens < outputTokens))) {
    return { kind: "ended early", detail };
  }
  if (tokens === null) return null;
  const fits = finishReason === "length" ? tokens === outputTokens : tokens <= outputTokens;
  if (!fits) return { kind: "wrong number of tokens", detail };
  // Each brings a token at least.
  if (deltas > tokens) return { kind: "wrong usage", detail: `${deltas} pieces of text, ${tokens} tokens` };
  return null;
}
