import { setMaxListeners } from "node:events";
import type { Engine, GenerateRequest, TokenEvent } from "./engine/types.ts";

/** A token of one of the sequences that answer a request. */
export interface ChoiceEvent {
  readonly index: number;
  readonly event: TokenEvent;
}

type Run = ReturnType<Engine["generate"]>;

/**
 * Starts all sequences of a request; their tokens come in the order in which they are made. Rejects if the engine refuses
 * one, which it does before anything runs; the iterator throws what happens later. Aborting `signal` ends all of them,
 * and must happen if the iterator is given up unread.
 */
export async function startChoices(
  engine: Engine,
  requests: readonly GenerateRequest[],
  signal: AbortSignal,
): Promise<AsyncGenerator<ChoiceEvent, void, void>> {
  const siblings = new AbortController();
  const either = AbortSignal.any([signal, siblings.signal]);
  // Each sequence listens; Node takes more than ten for a leak.
  setMaxListeners(0, either);
  const runs = requests.map((request) => engine.generate(request, either));
  const pending = new Map(runs.map((run, index) => [index, nextOf(run, index)]));
  let refusal: { readonly error: unknown } | undefined;
  for (const next of pending.values()) {
    next.catch((error) => {
      refusal ??= { error };
    });
  }
  // The engine admits or refuses without waiting for anything, so one turn of the event loop tells.
  await new Promise(setImmediate);
  if (refusal !== undefined) {
    siblings.abort();
    throw refusal.error;
  }
  return merge(runs, pending, siblings);
}

async function* merge(
  runs: readonly Run[],
  pending: Map<number, ReturnType<typeof nextOf>>,
  siblings: AbortController,
): AsyncGenerator<ChoiceEvent, void, void> {
  try {
    while (pending.size > 0) {
      const { index, result } = await Promise.race(pending.values());
      pending.delete(index);
      if (result.done) continue;
      // To the back of the race, so that a fast sequence does not hold up the others.
      pending.set(index, nextOf(runs[index] as Run, index));
      yield { index, event: result.value };
    }
  } finally {
    siblings.abort();
    await Promise.allSettled(pending.values());
  }
}

async function nextOf(run: Run, index: number) {
  return { index, result: await run.next() };
}
