import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const GOLDEN = join(import.meta.dirname, "..", "golden");

export function goldenPath(...parts: string[]): string {
  return join(GOLDEN, ...parts);
}

export function readGoldenJson<T>(...parts: string[]): T {
  return JSON.parse(readFileSync(goldenPath(...parts), "utf8")) as T;
}

/** A golden's bytes, aligned for typed arrays. All goldens are little-endian, as are the machines that run this. */
export function readGoldenBytes(...parts: string[]): ArrayBuffer {
  return new Uint8Array(readFileSync(goldenPath(...parts))).buffer;
}

export function sha256Of(path: string): string {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}

/** Largest absolute difference; NaN if any is, so that no comparison passes by accident. */
export function maxDifference(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) throw new Error(`${a.length} numbers against ${b.length}`);
  return a.reduce((worst, value, i) => {
    const difference = Math.abs(value - b[i]!);
    return difference > worst || Number.isNaN(difference) ? difference : worst;
  }, 0);
}

/** The first of the largest, as samplers and torch choose. */
export function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}
