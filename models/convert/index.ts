import { join } from "node:path";
import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import { packageRoot } from "../../attention/root.ts";
import { defaultThreads } from "../../attention/threads.ts";
import { ModelError } from "../errors.ts";
import type { ImportReport } from "../types.ts";
import type { Conversion, OnProgress } from "./conversion.ts";
import type { ConversionReply, ConversionThreadData } from "./messages.ts";

export type { Conversion } from "./conversion.ts";

/** A thread takes as long to start as this many bytes of weights to be quantised or packed. */
const THREAD_FROM_BYTES = 8 * 2 ** 20;
/** More of them wait for the one that packs and writes. */
const MOST_THREADS = 8;

export interface ConvertOptions {
  readonly onProgress?: OnProgress | undefined;
  /** Of weights that are rewritten: from how many on in a thread. */
  readonly threadFromBytes?: number;
  /** Threads that quantise; default the container's allowance. */
  readonly threads?: number;
}

/**
 * Makes a graph of a model's files, whose `bytes` of weights are quantised or packed for it; where these are many, in threads, so that the
 * event loop, and with it /health of a server that loads, goes on.
 * @throws ModelError naming the file, tensor or field; Error if a thread died
 */
export async function convert(
  conversion: Conversion,
  bytes: number,
  options: ConvertOptions = {},
): Promise<ImportReport> {
  const { onProgress = () => {}, threadFromBytes = THREAD_FROM_BYTES, threads = defaultThreads() } = options;
  if (bytes < threadFromBytes) {
    // Not read where a graph is there.
    const { runConversion } = await import("./conversion.ts");
    return runConversion(conversion, onProgress);
  }
  const helpers = conversion.quantize ? Math.min(threads, MOST_THREADS) - 1 : 0;
  return inThreads(conversion, onProgress, helpers);
}

async function inThreads(conversion: Conversion, onProgress: OnProgress, helperCount: number): Promise<ImportReport> {
  const started: Worker[] = [];
  try {
    return await new Promise<ImportReport>((resolve, reject) => {
      const start = (file: string, workerData: object, ports: readonly MessagePort[]) => {
        const path = join(packageRoot(), "dist", "models", "convert", file);
        const worker = new Worker(path, { workerData, transferList: [...ports], name: "sparq convert" });
        worker.on("error", reject);
        worker.on("exit", (code) => reject(new Error(`a thread that converts weights ended with code ${code}`)));
        started.push(worker);
        return worker;
      };
      const helpers = Array.from({ length: helperCount }, () => {
        const { port1: port, port2 } = new MessageChannel();
        const signals = new SharedArrayBuffer(8);
        start("helper-thread.js", { port: port2, signals }, [port2]);
        return { port, signals };
      });
      const data: ConversionThreadData = { conversion, helpers };
      const ports = helpers.map(({ port }) => port);
      start("conversion-thread.js", data, ports).on("message", (reply: ConversionReply) => {
        if ("progress" in reply) onProgress(...reply.progress);
        else if ("report" in reply) resolve(reply.report);
        else reject(new ModelError(reply.error.code, reply.error.message));
      });
    });
  } finally {
    await Promise.all(started.map((worker) => worker.terminate()));
  }
}
