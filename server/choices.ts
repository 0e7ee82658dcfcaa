import { setMaxListeners } from "node:events";
import { EventQueue, QueueReader } from "./engine/event-queue.ts";
import type { Engine, GenerateRequest, GenerationSummary, TokenEvent } from "./engine/types.ts";

/** A token of one of the sequences that answer a request. */
export interface ChoiceEvent {
  readonly index: number;
  readonly event: TokenEvent;
}

/**
 * Starts all sequences of a request; their tokens come in the order in which they are made. Rejects if the engine refuses
 * one, which it does before anything runs; the iterator throws what happens later. Aborting `signal` ends all of them,
 * and must happen if the iterator is given up unread. `onEnd` is told what each cost, before the iterator ends.
 */
export async function startChoices(
  engine: Engine,
  requests: readonly GenerateRequest[],
  signal: AbortSignal,
  onEnd: (index: number, summary: GenerationSummary) => void = () => {},
): Promise<AsyncGenerator<ChoiceEvent, void, void>> {
  const siblings = new AbortController();
  const either = AbortSignal.any([signal, siblings.signal]);
  // Each sequence listens; Node takes more than ten for a leak.
  setMaxListeners(0, either);
  const events = new EventQueue<ChoiceEvent>();
  let refusal: { readonly error: unknown } | undefined;
  const pump = async (request: GenerateRequest, index: number) => {
    let begun = false;
    try {
      const generation = engine.generate(request, either);
      let next = await generation.next();
      for (; !next.done; next = await generation.next()) {
        begun = true;
        events.push({ index, event: next.value });
      }
      onEnd(index, next.value);
    } catch (error) {
      if (!begun) refusal ??= { error };
      throw error;
    }
  };
  Promise.all(requests.map(pump)).then(
    () => events.end(),
    (error) => {
      events.fail(error);
      siblings.abort();
    },
  );
  // The engine admits or refuses without waiting for anything, so one turn of the event loop tells.
  await new Promise(setImmediate);
  if (refusal !== undefined) throw refusal.error;
  return new QueueReader(
    () => events,
    () => siblings.abort(),
  );
}
