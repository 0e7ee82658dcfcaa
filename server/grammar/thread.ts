import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { packageRoot } from "../../attention/root.ts";
import type { GrammarReply, GrammarRequest, GrammarWorkerData } from "./messages.ts";

interface Waiting {
  readonly resolve: (reply: Exclude<GrammarReply, { error: string }>) => void;
  readonly reject: (reason: unknown) => void;
}

/** A thread that answers requests in order, until it dies or is closed. Does not keep the process alive when idle. */
export class GrammarThread {
  readonly #worker: Worker;
  readonly #waiting: Waiting[] = [];
  #ended: Error | null = null;

  constructor(workerData: GrammarWorkerData) {
    // What xgrammar prints is of its inside, and comes again as the reason why the thread ended.
    this.#worker = new Worker(workerFile(), { workerData, name: "sparq grammars", stderr: true, stdout: true });
    this.#worker.stdout.resume();
    this.#worker.stderr.resume();
    this.#worker.unref();
    this.#worker.on("message", (reply: GrammarReply) => {
      const waiting = this.#waiting.shift();
      if (this.#waiting.length === 0) this.#worker.unref();
      if ("error" in reply) waiting?.reject(new Error(reply.error));
      else waiting?.resolve(reply);
    });
    this.#worker.on("error", (error) => this.#end(new Error(`the grammar thread failed: ${error.message}`)));
    this.#worker.on("exit", () => this.#end(new Error("the grammar thread ended")));
  }

  get alive(): boolean {
    return this.#ended === null;
  }

  /** Requests that are not answered yet. */
  get load(): number {
    return this.#waiting.length;
  }

  /** Rejects with what the thread says is wrong, or with why it ended. */
  call(request: GrammarRequest): Promise<Exclude<GrammarReply, { error: string }>> {
    if (this.#ended !== null) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#worker.ref();
      this.#worker.postMessage(request);
    });
  }

  async close(reason = new Error("the grammar thread was closed")): Promise<void> {
    this.#end(reason);
    await this.#worker.terminate();
  }

  #end(reason: Error): void {
    this.#ended ??= reason;
    for (const { reject } of this.#waiting.splice(0)) reject(this.#ended);
  }
}

/** Compiled, also where this file runs as TypeScript source: threads load no TypeScript. */
function workerFile(): string {
  return join(packageRoot(), "dist", "server", "grammar", "worker.js");
}
