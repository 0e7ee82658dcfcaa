import { closeSync, fstatSync } from "node:fs";
import { openModelFile, readRange } from "../file-range.ts";
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

/**
 * Opens a safetensors file and checks that every tensor's data is inside it.
 * @throws ModelError file_missing, file_truncated or file_invalid, naming the file, the tensor and the numbers
 */
export function openSafetensors(path: string): SafetensorsFile {
  const descriptor = openModelFile(path);
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
