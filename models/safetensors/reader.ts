import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { ModelError, messageOf } from "../errors.ts";
import { headerLength, LENGTH_BYTES, parseHeader, type SafetensorsEntry } from "./header.ts";

/** An open safetensors file: its entries in memory, tensor data read on demand. Close it. */
export interface SafetensorsFile {
  readonly path: string;
  readonly bytes: number;
  readonly tensors: ReadonlyMap<string, SafetensorsEntry>;
  /** The tensor's bytes as they are in the file. Throws ModelError "file_truncated" if the file has shrunk. */
  read(tensor: SafetensorsEntry): Uint8Array<ArrayBuffer>;
  close(): void;
}

/** One read's bytes at most: the kernel gives no more than 2 GiB at a time. */
const READ_BYTES = 1 << 30;

/**
 * Opens a safetensors file and checks that every tensor's data is inside it.
 * @throws ModelError file_missing, file_truncated or file_invalid, naming the file, the tensor and the numbers
 */
export function openSafetensors(path: string): SafetensorsFile {
  const descriptor = openFile(path);
  try {
    const bytes = fstatSync(descriptor).size;
    const length = headerLength(
      readRange(path, descriptor, 0, Math.min(LENGTH_BYTES, bytes), "the header"),
      path,
      bytes,
    );
    const entries = parseHeader(readRange(path, descriptor, LENGTH_BYTES, length, "the header"), path, bytes);
    return {
      path,
      bytes,
      tensors: new Map(entries.map((entry) => [entry.name, entry])),
      read: ({ name, offset, bytes: size }) => readRange(path, descriptor, offset, size, `tensor "${name}"`),
      close: () => closeSync(descriptor),
    };
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

function openFile(path: string): number {
  try {
    return openSync(path, "r");
  } catch (error) {
    throw new ModelError("file_missing", `cannot read ${path}: ${messageOf(error)}`, { cause: error });
  }
}

/** A fresh buffer, not a pooled one: typed arrays of wider elements may be laid over it. */
function readRange(
  path: string,
  descriptor: number,
  offset: number,
  length: number,
  what: string,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const read = readSync(descriptor, bytes, done, Math.min(length - done, READ_BYTES), offset + done);
    if (read === 0) {
      throw new ModelError(
        "file_truncated",
        `${path} has shrunk: ${what} of ${length} bytes at ${offset} ends after ${done}`,
      );
    }
    done += read;
  }
  return bytes;
}
