import type { ErrorBody } from "./errors.ts";
import { within } from "./within.ts";

export interface EventStreamOptions {
  /** Silence after which a comment keeps the connection alive, in milliseconds. */
  readonly pingMs: number;
  /** The reader left before the end. */
  readonly onCancel: () => void;
  /** Nothing more is sent, for whatever reason. Called once. */
  readonly onEnd?: () => void;
  /** What to send for an error of the events. */
  readonly toErrorBody: (error: unknown) => ErrorBody;
}

export const eventStreamHeaders = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-cache",
  "x-accel-buffering": "no",
};

const encoder = new TextEncoder();
const frame = (data: string) => encoder.encode(`data: ${data}\n\n`);
const PING = encoder.encode(": ping\n\n");
const DONE = frame("[DONE]");

/**
 * Server-sent events of `events`, one each as JSON, ended by `[DONE]`. Events are taken only as fast as the reader reads.
 * An error of `events` goes out as an event of its own, before the `[DONE]`.
 */
export function eventStream(
  events: AsyncIterator<object, void>,
  options: EventStreamOptions,
): ReadableStream<Uint8Array> {
  /** The event waited for; it outlives the pulls that end in a ping. */
  let next: Promise<IteratorResult<object, void>> | undefined;
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      next ??= events.next();
      try {
        const result = await within(next, options.pingMs);
        if (result === "late") return controller.enqueue(PING);
        next = undefined;
        if (!result.done) return controller.enqueue(frame(JSON.stringify(result.value)));
      } catch (error) {
        controller.enqueue(frame(JSON.stringify(options.toErrorBody(error))));
      }
      controller.enqueue(DONE);
      controller.close();
      options.onEnd?.();
    },
    cancel() {
      options.onCancel();
      options.onEnd?.();
      // What is under way may still fail; nobody is left to hear of it.
      next?.catch(() => {});
      events.return?.().catch(() => {});
    },
  });
}
