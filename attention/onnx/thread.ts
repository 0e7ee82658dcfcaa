import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { ModelError } from "../../models/errors.ts";
import { packageRoot } from "../root.ts";
import type { OnnxReply, OnnxRequest, OnnxWorkerData } from "./messages.ts";

type Answer = Exclude<OnnxReply, { kind: "failed" }>;

interface Waiting {
  readonly resolve: (answer: Answer) => void;
  readonly reject: (reason: unknown) => void;
}

/** The thread that has a decoder open, until it is closed or dies. Does not keep the process alive when idle. */
export class OnnxThread {
  /** What it opened; rejects with ModelError for a file that cannot be. */
  readonly opened: Promise<Extract<Answer, { kind: "opened" }>>;
  private readonly worker: Worker;
  private readonly waiting: Waiting[] = [];
  private ended: Error | null = null;
  private closed = false;

  constructor(workerData: OnnxWorkerData) {
    this.worker = new Worker(workerFile(), { workerData, name: "sparq onnx" });
    this.worker.on("message", (reply: OnnxReply) => this.settle(reply));
    this.worker.on("error", (error) => this.end(new Error(`the ONNX Runtime thread failed: ${error.message}`)));
    this.worker.on("exit", (code) => this.end(new Error(`the ONNX Runtime thread ended with code ${code}`)));
    this.opened = this.answered<"opened">();
  }

  /** Why it is there no more, unless it was closed. */
  get died(): Error | null {
    return this.closed ? null : this.ended;
  }

  begin(request: Extract<OnnxRequest, { kind: "begin" }>): Promise<Extract<Answer, { kind: "began" }>> {
    return this.ask(request);
  }

  step(request: Extract<OnnxRequest, { kind: "step" }>): Promise<Extract<Answer, { kind: "stepped" }>> {
    return this.ask(request);
  }

  /** Throws Error after close(). What goes wrong in a copy is what the next step rejects with. */
  copy(from: number, to: number): void {
    if (this.ended !== null) throw this.ended;
    this.post({ kind: "copy", from, to });
  }

  /** Frees the decoder, after what runs. */
  close(): void {
    if (this.ended !== null) return;
    this.post({ kind: "close" });
    this.closed = true;
    this.ended = new Error("the session is closed");
  }

  private post(request: OnnxRequest): void {
    this.worker.postMessage(request);
  }

  private ask<K extends Answer["kind"]>(request: OnnxRequest): Promise<Extract<Answer, { kind: K }>> {
    if (this.ended !== null) return Promise.reject(this.ended);
    const answered = this.answered<K>();
    this.post(request);
    return answered;
  }

  private answered<K extends Answer["kind"]>(): Promise<Extract<Answer, { kind: K }>> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ resolve: resolve as Waiting["resolve"], reject });
      this.worker.ref();
    });
  }

  private settle(reply: OnnxReply): void {
    const waiting = this.waiting.shift();
    if (this.waiting.length === 0) this.worker.unref();
    if (reply.kind !== "failed") waiting?.resolve(reply);
    else
      waiting?.reject(reply.code === undefined ? new Error(reply.message) : new ModelError(reply.code, reply.message));
  }

  private end(reason: Error): void {
    this.ended ??= reason;
    for (const { reject } of this.waiting.splice(0)) reject(reason);
  }
}

/** Compiled, also where this file runs as TypeScript source: threads load no TypeScript. */
function workerFile(): string {
  return join(packageRoot(), "dist", "attention", "onnx", "worker.js");
}
