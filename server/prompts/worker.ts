import { parentPort, workerData } from "node:worker_threads";
import type { TokenizerFiles } from "../../models/types.ts";
import type { Tokenizer } from "../engine/types.ts";
import { createTokenizer, type TokenizerIds } from "../tokenizer.ts";
import { type JobReply, type PromptJob, packError, runJob } from "./job.ts";

/** What a thread makes its tokenizer of; the files as JSON in UTF-8, in memory that all threads share. */
export interface PromptWorkerData {
  readonly files: SharedArrayBuffer;
  readonly ids: TokenizerIds;
}

/** One tokenizer for all jobs of this thread; they come one at a time. */
let tokenizer: Tokenizer | undefined;

parentPort?.on("message", (job: PromptJob) => {
  const reply = answer(job);
  parentPort?.postMessage(reply, "ids" in reply ? reply.ids.map((ids) => ids.buffer as ArrayBuffer) : []);
});

function answer(job: PromptJob): JobReply {
  try {
    tokenizer ??= load(workerData as PromptWorkerData);
    return { ids: runJob(tokenizer, job).map((ids) => Int32Array.from(ids)) };
  } catch (error) {
    return { error: packError(error) };
  }
}

function load({ files, ids }: PromptWorkerData): Tokenizer {
  return createTokenizer(JSON.parse(Buffer.from(files).toString()) as TokenizerFiles, ids);
}
