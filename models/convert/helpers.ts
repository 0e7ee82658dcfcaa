import { receiveMessageOnPort } from "node:worker_threads";
import { type BlockMatrix, type DenseMatrix, stackRows } from "../builder/weights.ts";
import { BLOCK_SIZE, type Quantiser, quantise } from "../safetensors/quantise.ts";
import type { HelperJob, HelperPlace } from "./messages.ts";

/** Rows are shared out from this many weights on: less is quantised before a message has arrived. */
const SHARED_FROM = 1 << 16;

/** Indices of a place's two counts. */
const SENT = 0;
const ANSWERED = 1;

/**
 * Quantises a matrix' rows with the help of other threads, waiting for them without an event loop: for a thread that has nothing else
 * to do. The result is the same bits as quantise()'s.
 */
export function sharedQuantiser(places: readonly HelperPlace[]): Quantiser {
  const helpers = places.map((place) => new Helper(place));
  return (matrix, kind, name) => {
    const { rows, columns } = matrix;
    const whole = matrix.kind === "blocks" || columns % BLOCK_SIZE !== 0;
    if (whole || rows * columns < SHARED_FROM || helpers.length === 0) return quantise(matrix, kind, name);
    const bytes = matrix.read();
    const bounds = Array.from({ length: helpers.length + 2 }, (_, i) => Math.floor((i * rows) / (helpers.length + 1)));
    const partOf = (i: number) => {
      const [first, last] = [bounds[i]!, bounds[i + 1]!];
      const rowBytes = bytes.length / rows;
      return {
        rows: last - first,
        columns,
        dtype: matrix.dtype,
        bytes: bytes.slice(first * rowBytes, last * rowBytes),
      };
    };
    for (const [i, helper] of helpers.entries()) helper.send({ ...partOf(i + 1), kind, name });
    const own = quantised({ ...partOf(0), kind, name });
    const parts = [own, ...helpers.map((helper) => helper.receive())];
    // A weight that cannot be quantised is named by its place in the whole.
    if (parts.some((part) => part === null)) return quantise(matrix, kind, name);
    return stackRows(parts as BlockMatrix[])!;
  };
}

class Helper {
  readonly #place: HelperPlace;
  readonly #counts: Int32Array;

  constructor(place: HelperPlace) {
    this.#place = place;
    this.#counts = new Int32Array(place.signals);
  }

  send(job: HelperJob): void {
    this.#place.port.postMessage(job, [job.bytes.buffer]);
    increment(this.#counts, SENT);
  }

  /** Waits for the answer to what was sent last; null if there is none. */
  receive(): BlockMatrix | null {
    const sent = Atomics.load(this.#counts, SENT);
    Atomics.wait(this.#counts, ANSWERED, sent - 1);
    return receiveMessageOnPort(this.#place.port)!.message;
  }
}

/** Answers jobs, one after another, until the thread is ended. */
export function serveJobs({ port, signals }: HelperPlace): never {
  const counts = new Int32Array(signals);
  for (let answered = 0; ; answered++) {
    Atomics.wait(counts, SENT, answered);
    const answer = quantised(receiveMessageOnPort(port)!.message);
    port.postMessage(
      answer,
      answer === null ? [] : [answer.quants.buffer as ArrayBuffer, answer.scales.buffer as ArrayBuffer],
    );
    increment(counts, ANSWERED);
  }
}

function increment(counts: Int32Array, which: number): void {
  Atomics.add(counts, which, 1);
  Atomics.notify(counts, which);
}

/** Null if a weight cannot be quantised. */
function quantised({ kind, name, rows, columns, dtype, bytes }: HelperJob): BlockMatrix | null {
  const matrix: DenseMatrix = { kind: "dense", rows, columns, dtype, read: () => bytes };
  try {
    return quantise(matrix, kind, name) as BlockMatrix;
  } catch {
    return null;
  }
}
