import { openSync, readSync } from "node:fs";
import { ModelError, messageOf } from "./errors.ts";

/** One read's bytes at most: the kernel gives no more than 2 GiB at a time, and Node asks for no more. */
const READ_BYTES = 1 << 30;

/** A descriptor to read from. Throws ModelError "file_missing", naming the file. */
export function openModelFile(path: string): number {
  try {
    return openSync(path, "r");
  } catch (error) {
    throw new ModelError("file_missing", `cannot read ${path}: ${messageOf(error)}`, { cause: error });
  }
}

/**
 * Fills `into` with the file's bytes from `offset` on. Throws what `short` makes of how many there were, if the file ends before:
 * it was long enough when it was opened.
 */
export function readFully(descriptor: number, into: Uint8Array, offset: number, short: (done: number) => Error): void {
  for (let done = 0; done < into.length; ) {
    const read = readSync(descriptor, into, done, Math.min(into.length - done, READ_BYTES), offset + done);
    if (read === 0) throw short(done);
    done += read;
  }
}

/**
 * A range of a file as a fresh buffer, not a pooled one: typed arrays of wider elements may be laid over it. `what` it is goes into
 * the error. Throws ModelError "file_truncated" if the file has shrunk.
 */
export function readRange(
  path: string,
  descriptor: number,
  offset: number,
  length: number,
  what: string,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  readFully(descriptor, bytes, offset, (done) => {
    const problem = `${what} of ${length} bytes at ${offset} ends after ${done}`;
    return new ModelError("file_truncated", `${path} has shrunk: ${problem}`);
  });
  return bytes;
}
