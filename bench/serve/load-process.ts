import { type ChildProcess, fork } from "node:child_process";
import { join } from "node:path";
import { packageRoot } from "../../attention/root.ts";
import type { ClientMessage, LoadOrder, LoadResult } from "./timeline.ts";

/** The process that sends requests and times what comes. */
export class LoadProcess {
  private readonly child: ChildProcess = fork(
    join(packageRoot(), "dist", "bench", "serve", "client", "process.js"),
    { execArgv: [] }, // A profiler of this process is not meant for that one.
  );

  /** One load at a time. Rejects if the process ends, or with the signal's reason. */
  run(order: LoadOrder, stop: AbortSignal, onProgress: (ended: number) => void): Promise<LoadResult> {
    const { child } = this;
    stop.throwIfAborted();
    return new Promise((resolve, reject) => {
      const onMessage = (message: ClientMessage) => {
        if (message.kind === "progress") onProgress(message.ended);
        else settle(() => resolve(message.result));
      };
      const onExit = (code: number | null, signal: string | null) => {
        settle(() => reject(new Error(`the clients' process ended with ${code ?? signal}`)));
      };
      const onStop = () => settle(() => reject(stop.reason));
      const onError = (error: Error) => settle(() => reject(error));
      const settle = (how: () => void) => {
        child.off("message", onMessage).off("exit", onExit).off("error", onError);
        stop.removeEventListener("abort", onStop);
        how();
      };
      child.on("message", onMessage).on("exit", onExit).on("error", onError);
      stop.addEventListener("abort", onStop);
      child.send(order);
    });
  }

  close(): void {
    this.child.kill("SIGKILL");
  }
}
