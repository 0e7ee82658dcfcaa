import type { ErrorBody } from "./errors.ts";

export interface EventStreamOptions<T> {
  /** What an event is sent as, one after the other; and what follows the last event. What they throw ends the stream. */
  readonly chunksOf: (event: T) => readonly object[];
  readonly lastChunks?: () => readonly object[];
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
 * Server-sent events: the chunks of `events`, each as JSON, ended by `[DONE]`. Events are taken only as fast as the reader
 * reads. An error of `events` goes out as an event of its own, before the `[DONE]`.
 */
export function eventStream<T>(
  events: AsyncIterator<T, unknown>,
  options: EventStreamOptions<T>,
): ReadableStream<Uint8Array> {
  /** One for the whole stream, put off by every event: a timer for each token would cost more than its text. */
  let silence: NodeJS.Timeout | undefined;
  let left = false;
  const end = () => {
    clearInterval(silence);
    options.onEnd?.();
  };
  return new ReadableStream<Uint8Array>({
    start(controller) {
      const ping = () => {
        // Not for a reader who has not read what is there.
        if ((controller.desiredSize ?? 0) > 0) controller.enqueue(PING);
      };
      silence = setInterval(ping, options.pingMs).unref();
    },
    async pull(controller) {
      const send = (chunk: object) => controller.enqueue(frame(JSON.stringify(chunk)));
      try {
        // An event may have nothing to send, and a stream that was sent nothing is not asked again.
        for (;;) {
          const { done, value } = await events.next();
          if (left) return;
          silence?.refresh();
          const chunks = done ? (options.lastChunks?.() ?? []) : options.chunksOf(value);
          for (const chunk of chunks) send(chunk);
          if (done) break;
          if (chunks.length > 0) return;
        }
      } catch (error) {
        if (left) return;
        events.return?.().catch(() => {});
        send(options.toErrorBody(error));
      }
      controller.enqueue(DONE);
      controller.close();
      end();
    },
    cancel() {
      left = true;
      options.onCancel();
      end();
      events.return?.().catch(() => {});
    },
  });
}
