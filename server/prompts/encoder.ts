import { availableParallelism } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { packageRoot } from "../../attention/root.ts";
import type { TokenizerFiles } from "../../models/types.ts";
import type { ChatMessage, ChatTemplateOptions, EncodeOptions, Tokenizer } from "../engine/types.ts";
import type { TokenizerIds } from "../tokenizer.ts";
import { type JobReply, type PromptJob, runJob, unpackError } from "./job.ts";
import { ThreadPool } from "./thread-pool.ts";
import type { PromptWorkerData } from "./worker.ts";

/** Characters from which on a prompt goes to a thread: less takes a few milliseconds. */
const THREAD_FROM_CHARACTERS = 4096;
/** Prompts that may wait for a thread. */
const MAX_QUEUED = 256;
/** More threads would take the cores that the model runs on. */
const MAX_THREADS = 2;

/**
 * Makes token ids of prompts without keeping the event loop: what is long goes to threads that have a tokenizer of their
 * own. The ids are the same either way.
 */
export interface PromptEncoder {
  /**
   * Each text's ids. Rejects with what Tokenizer.encode throws, with EngineError "queue_full" or "closed", with the
   * reason of `signal`, or with Error if a thread died of the texts.
   */
  encode(texts: readonly string[], options?: EncodeOptions, signal?: AbortSignal): Promise<number[][]>;
  /** A conversation's ids. Rejects as `encode` does, and with ChatTemplateError. */
  applyChatTemplate(
    messages: readonly ChatMessage[],
    options: ChatTemplateOptions,
    signal?: AbortSignal,
  ): Promise<number[]>;
  /** Ends the threads; what they have not answered is rejected. */
  close(): Promise<void>;
}

/** Runs all jobs in this thread: for models that have no files to make another tokenizer of. */
export function localEncoder(tokenizer: Tokenizer): PromptEncoder {
  return encoderOf(
    async (job) => runJob(tokenizer, job),
    async () => {},
  );
}

/** An encoder whose threads make their tokenizers of `files` and `ids`, as `tokenizer` was, when they are first needed. */
export function threadedEncoder(tokenizer: Tokenizer, files: TokenizerFiles, ids: TokenizerIds): PromptEncoder {
  const workerData: PromptWorkerData = { files: sharedJson(files), ids };
  const pool = new ThreadPool<PromptJob, JobReply>({
    threads: Math.min(MAX_THREADS, availableParallelism()),
    maxQueued: MAX_QUEUED,
    spawn: () => new Worker(workerFile(), { workerData, name: "sparq prompts" }),
  });
  const run = async (job: PromptJob, signal?: AbortSignal) => {
    if (charactersIn(job) < THREAD_FROM_CHARACTERS) return runJob(tokenizer, job);
    const reply = await pool.run(job, signal);
    if ("error" in reply) throw unpackError(reply.error);
    return reply.ids.map((ids) => Array.from(ids));
  };
  return encoderOf(run, () => pool.close());
}

function encoderOf(
  run: (job: PromptJob, signal?: AbortSignal) => Promise<number[][]>,
  close: () => Promise<void>,
): PromptEncoder {
  return {
    encode: (texts, options = {}, signal) => run({ kind: "texts", texts, options }, signal),
    applyChatTemplate: async (messages, options, signal) => {
      const [ids] = await run({ kind: "chat", messages, options }, signal);
      return ids!;
    },
    close,
  };
}

/** Compiled, also where this file runs as TypeScript source: threads load no TypeScript. */
function workerFile(): string {
  return join(packageRoot(), "dist", "server", "prompts", "worker.js");
}

function sharedJson(value: unknown): SharedArrayBuffer {
  const bytes = Buffer.from(JSON.stringify(value));
  const shared = new SharedArrayBuffer(bytes.length);
  new Uint8Array(shared).set(bytes);
  return shared;
}

/** UTF-16 units of all strings in a piece of plain data, however deep it is. */
function charactersIn(value: unknown): number {
  let characters = 0;
  const rest = [value];
  while (rest.length > 0) {
    const part = rest.pop();
    if (typeof part === "string") characters += part.length;
    else if (typeof part === "object" && part !== null) for (const inner of Object.values(part)) rest.push(inner);
  }
  return characters;
}
