import type { Worker } from "node:worker_threads";
import { engineErrors } from "../engine/errors.ts";

export interface ThreadPoolOptions {
  /** Threads at most. One starts when there is work that no other is free for. */
  readonly threads: number;
  /** Tasks that may wait for a thread. */
  readonly maxQueued: number;
  /** Starts a thread that answers each message with one message, in order. */
  readonly spawn: () => Worker;
}

interface Task {
  readonly message: unknown;
  readonly resolve: (reply: unknown) => void;
  readonly reject: (reason: unknown) => void;
  /** Takes the task's listener off its signal. */
  readonly detach: () => void;
}

/** A place for a thread, which may not have started, or have died. */
interface Place {
  worker: Worker | null;
  task: Task | null;
}

/**
 * Sends tasks to threads, one at a time each, in order of arrival. A thread that dies rejects its task alone; the next
 * task starts another. Idle threads do not keep the process alive.
 */
export class ThreadPool<Message, Reply> {
  private readonly options: ThreadPoolOptions;
  private readonly places: Place[];
  private readonly queue: Task[] = [];
  private closed = false;

  constructor(options: ThreadPoolOptions) {
    this.options = options;
    this.places = Array.from({ length: options.threads }, () => ({ worker: null, task: null }));
  }

  /**
   * The thread's reply. Aborting `signal` rejects with its reason: a task that waits is dropped, of one that runs the
   * reply is. Rejects with EngineError "queue_full" if too many wait, "closed" after close(), and with Error if the thread
   * dies.
   */
  run(message: Message, signal?: AbortSignal): Promise<Reply> {
    return new Promise<Reply>((resolve, reject) => {
      signal?.throwIfAborted();
      if (this.closed) throw engineErrors.closed();
      const { maxQueued } = this.options;
      if (this.queue.length >= maxQueued) throw engineErrors.queueFull(this.queue.length, maxQueued);
      const onAbort = () => {
        const index = this.queue.indexOf(task);
        if (index >= 0) this.queue.splice(index, 1);
        reject(signal?.reason);
      };
      const detach = () => signal?.removeEventListener("abort", onAbort);
      const task: Task = { message, resolve: resolve as (reply: unknown) => void, reject, detach };
      signal?.addEventListener("abort", onAbort, { once: true });
      this.queue.push(task);
      this.dispatch();
    });
  }

  /** Tasks that wait, and that run; for tests and statistics. */
  get counts(): { readonly queued: number; readonly running: number } {
    return { queued: this.queue.length, running: this.places.filter(({ task }) => task !== null).length };
  }

  /** Rejects what waits and what runs, and ends the threads. */
  async close(): Promise<void> {
    this.closed = true;
    for (const task of this.queue.splice(0)) fail(task, engineErrors.closed());
    const workers = this.places.flatMap((place) => {
      const { worker, task } = place;
      place.task = null;
      if (task !== null) fail(task, engineErrors.closed());
      return worker ?? [];
    });
    await Promise.all(workers.map((worker) => worker.terminate()));
  }

  private dispatch(): void {
    while (this.queue.length > 0) {
      const free = this.places.filter(({ task }) => task === null);
      const place = free.find(({ worker }) => worker !== null) ?? free[0];
      if (place === undefined) return;
      this.start(place, this.queue.shift()!);
    }
  }

  private start(place: Place, task: Task): void {
    place.task = task;
    try {
      place.worker ??= this.spawn(place);
      place.worker.ref();
      place.worker.postMessage(task.message);
    } catch (error) {
      // No more threads can be had, or the message cannot be sent.
      place.task = null;
      fail(task, error);
    }
  }

  private spawn(place: Place): Worker {
    const worker = this.options.spawn();
    let cause: unknown;
    worker.on("message", (reply) => {
      const { task } = place;
      place.task = null;
      worker.unref();
      task?.detach();
      task?.resolve(reply);
      this.dispatch();
    });
    worker.on("error", (error) => {
      cause = error;
    });
    worker.on("exit", (code) => {
      const { task } = place;
      place.worker = null;
      place.task = null;
      if (task !== null) fail(task, new Error(`a thread ended with code ${code} before it answered`, { cause }));
      this.dispatch();
    });
    return worker;
  }
}

function fail(task: Task, reason: unknown): void {
  task.detach();
  task.reject(reason);
}
