import { closeSync, mkdirSync, openSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";

let counter = 0;

/** A name beside `path` that no other process or call uses. */
function temporaryName(path: string): string {
  counter += 1;
  return `${path}.${process.pid}.${counter}.tmp`;
}

/**
 * Writes a file through an open descriptor and renames it into place, so that readers see the old file or the whole new
 * one. Makes the folder if needed; on failure removes what was written and rethrows.
 */
export function replaceFileWith<T>(path: string, write: (descriptor: number) => T): T {
  mkdirSync(dirname(path), { recursive: true });
  const temporary = temporaryName(path);
  try {
    const descriptor = openSync(temporary, "wx");
    let result: T;
    try {
      result = write(descriptor);
    } finally {
      closeSync(descriptor);
    }
    renameSync(temporary, path);
    return result;
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

export function replaceFile(path: string, bytes: Uint8Array | string): void {
  replaceFileWith(path, (descriptor) => writeFileSync(descriptor, bytes));
}
