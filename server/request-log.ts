import type { MiddlewareHandler } from "hono";
import type { Logger } from "pino";

declare module "hono" {
  interface ContextVariableMap {
    requestLog: RequestLog;
  }
}

/** What a request's line is given beside what its handlers note. */
export interface RequestEnd {
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly seconds: number;
}

/** One request's lines in the log. The last one sums it up, a stream's when the stream has ended. */
export class RequestLog {
  /** Puts the request's id into every line. */
  readonly log: Logger;
  private readonly fields: Record<string, unknown> = {};
  private deferred = false;

  constructor(log: Logger) {
    this.log = log;
  }

  /** Adds fields to the last line. Mutates. */
  note(fields: Readonly<Record<string, unknown>>): void {
    Object.assign(this.fields, fields);
  }

  /** The answer goes on when the handler has returned: the last line waits for `end`. Mutates. */
  defer(): void {
    this.deferred = true;
  }

  /** Writes the last line; set by the middleware, which knows when. */
  end: () => void = () => {};

  get isDeferred(): boolean {
    return this.deferred;
  }

  get noted(): Readonly<Record<string, unknown>> {
    return this.fields;
  }
}

/**
 * Gives each request its RequestLog. `isPolled` paths come every few seconds: their lines are for debugging. `onEnd` hears
 * of every request when its last line is due.
 */
export function logRequests(
  log: Logger,
  isPolled: (path: string) => boolean,
  onEnd: (end: RequestEnd) => void,
): MiddlewareHandler {
  return async (context, next) => {
    const started = performance.now();
    const requestLog = new RequestLog(log.child({ requestId: context.get("requestId") }));
    context.set("requestLog", requestLog);
    let ended = false;
    requestLog.end = () => {
      if (ended) return;
      ended = true;
      const { method, path } = context.req;
      const { status } = context.res;
      const milliseconds = performance.now() - started;
      onEnd({ method, path, status, seconds: milliseconds / 1000 });
      const line = { method, path, status, ms: Math.round(milliseconds), ...requestLog.noted };
      requestLog.log[isPolled(path) ? "debug" : "info"](line, "request");
    };
    await next();
    if (!requestLog.isDeferred) requestLog.end();
  };
}
