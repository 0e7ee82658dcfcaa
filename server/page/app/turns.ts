/** How an answer went, as the page measured it. */
export interface Measures {
  /** From sending to the first token, milliseconds. */
  readonly ttft: number;
  readonly promptTokens: number | null;
  readonly tokens: number;
  /** Of the tokens after the first; null for a single one. */
  readonly tokensPerSecond: number | null;
  /** What the server read of the cache against dense while the answer ran, the prompt apart; null if unknown. */
  readonly ratio: number | null;
}

export type TurnState = "running" | "done" | "cut" | "stopped" | "failed";

/** A question with its answer. "cut": max_tokens or the context ended it. */
export interface Turn {
  readonly id: number;
  readonly question: string;
  readonly answer: string;
  readonly state: TurnState;
  /** Why it failed. */
  readonly error?: string;
  readonly measures?: Measures;
}

export interface Message {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
}

/**
 * What the server gets: the system prompt if there is one, then the conversation. The context stands before the first
 * question, so that later turns share its cached pages. Turns that failed without a word are left out, but for the last.
 */
export function messagesOf(turns: readonly Turn[], system: string, context: string): Message[] {
  const kept = turns.filter(({ answer }, i) => answer !== "" || i === turns.length - 1);
  const messages: Message[] = system.trim() === "" ? [] : [{ role: "system", content: system }];
  for (const [i, { question, answer }] of kept.entries()) {
    const content = i === 0 && context.trim() !== "" ? `${context}\n\n${question}` : question;
    messages.push({ role: "user", content });
    if (i < kept.length - 1) messages.push({ role: "assistant", content: answer });
  }
  return messages;
}

/** The turns of an earlier visit, from what was stored; what is not one is dropped, and none is running any more. */
export function restoreTurns(stored: unknown): Turn[] {
  if (!Array.isArray(stored)) return [];
  const turns = stored.filter(
    (turn): turn is Turn =>
      typeof turn === "object" && turn !== null && typeof turn.question === "string" && typeof turn.answer === "string",
  );
  return turns.map((turn, id) => ({ ...turn, id, state: turn.state === "running" ? "stopped" : turn.state }));
}
