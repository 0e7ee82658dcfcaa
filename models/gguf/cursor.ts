import { ModelError } from "../errors.ts";
import { readFully } from "../file-range.ts";

/** Read at a time. */
const WINDOW = 1 << 20;

/**
 * Reads a file's little-endian values from its beginning on, through a window. Whatever lengths the file claims, no more
 * than is left of it is ever read or allocated. Errors name the file and what was being read.
 */
export class Cursor {
  readonly path: string;
  /** Of the file. */
  readonly bytes: number;
  readonly #descriptor: number;
  #window = Buffer.alloc(0);
  /** Where in the file the window begins, and where in the window the next value does. */
  #start: number;
  #at = 0;

  constructor(path: string, descriptor: number, bytes: number, offset: number) {
    this.path = path;
    this.bytes = bytes;
    this.#descriptor = descriptor;
    this.#start = offset;
  }

  get offset(): number {
    return this.#start + this.#at;
  }

  get left(): number {
    return this.bytes - this.offset;
  }

  /** Throws ModelError "file_truncated" unless `count` bytes are left for `what`. */
  need(count: number, what: string): void {
    if (count <= this.left) return;
    throw new ModelError(
      "file_truncated",
      `${this.path} is truncated or damaged: it has ${this.bytes} bytes, ${what} at ${this.offset} needs ${count} bytes, ${this.left} are left`,
    );
  }

  uint8(what: string): number {
    return this.#take(1, what, (window, at) => window.readUInt8(at));
  }

  int8(what: string): number {
    return this.#take(1, what, (window, at) => window.readInt8(at));
  }

  uint16(what: string): number {
    return this.#take(2, what, (window, at) => window.readUInt16LE(at));
  }

  int16(what: string): number {
    return this.#take(2, what, (window, at) => window.readInt16LE(at));
  }

  uint32(what: string): number {
    return this.#take(4, what, (window, at) => window.readUInt32LE(at));
  }

  int32(what: string): number {
    return this.#take(4, what, (window, at) => window.readInt32LE(at));
  }

  float32(what: string): number {
    return this.#take(4, what, (window, at) => window.readFloatLE(at));
  }

  float64(what: string): number {
    return this.#take(8, what, (window, at) => window.readDoubleLE(at));
  }

  /** Past 2^53 the nearest number: sizes, counts and ids are far below, or refused for being too large. */
  uint64(what: string): number {
    return this.#take(8, what, (window, at) => window.readUInt32LE(at) + 2 ** 32 * window.readUInt32LE(at + 4));
  }

  int64(what: string): number {
    return this.#take(8, what, (window, at) => window.readUInt32LE(at) + 2 ** 32 * window.readInt32LE(at + 4));
  }

  /** A length of 64 bits, then UTF-8. Throws ModelError "file_invalid" for more than `most` bytes. */
  string(what: string, most = Number.POSITIVE_INFINITY): string {
    const length = this.uint64(what);
    this.need(length, what);
    if (length > most) {
      throw new ModelError(
        "file_invalid",
        `${this.path} is damaged: ${what} has ${length} bytes, at most ${most} are read`,
      );
    }
    return this.#take(length, what, (window, at) => window.toString("utf8", at, at + length));
  }

  #take<T>(count: number, what: string, read: (window: Buffer, at: number) => T): T {
    if (this.#at + count > this.#window.length) this.#fill(count, what);
    const value = read(this.#window, this.#at);
    this.#at += count;
    return value;
  }

  /** Moves the window to the next value and makes it hold `count` bytes at least. */
  #fill(count: number, what: string): void {
    this.need(count, what);
    this.#start = this.offset;
    this.#at = 0;
    const window = Buffer.alloc(Math.min(Math.max(count, WINDOW), this.left));
    readFully(this.#descriptor, window, this.#start, (done) => {
      return new ModelError("file_truncated", `${this.path} has shrunk to ${this.#start + done} bytes`);
    });
    this.#window = window;
  }
}
