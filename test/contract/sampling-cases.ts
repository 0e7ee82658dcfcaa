import fc from "fast-check";
import { maskWords } from "../../attention/sampling.ts";
import { RandomStream } from "../../server/engine/random.ts";
import { someLogits } from "./sampling-fixture.ts";

export const LAST = 1 - 2 ** -53; // the largest random number

export const uniforms = fc.oneof(
  fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  fc.constantFrom(0, 0.5, LAST),
);

/** Parameters of all kinds, most of them off most of the time. */
export const parameters = fc.record({
  temperature: fc.oneof(fc.double({ min: 0.05, max: 5, noNaN: true }), fc.constantFrom(1e-6, 1e-3, 100, 1e3)),
  topK: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 500 })),
  topP: fc.oneof(fc.constant(1), fc.double({ min: 0.001, max: 0.9999, noNaN: true })),
  minP: fc.oneof(fc.constant(0), fc.double({ min: 1e-6, max: 1, noNaN: true })),
  uniform: uniforms,
});

/** A row of each kind: spread out, in a heap, with ties, all equal, few finite. */
export function logitsOf(kind: string, size: number, seed: number): Float32Array {
  const logits = someLogits(size, seed, kind === "flat" ? 0.1 : kind === "steep" ? 30 : 3);
  if (kind === "ties") return logits.map(Math.round);
  if (kind === "equal") return logits.fill(-2.5);
  if (kind === "few finite") return logits.map((x, i) => (i % 7 === seed % 7 || i === size - 1 ? x : -Infinity));
  if (kind === "one finite") return logits.fill(-Infinity).fill(4, seed % size, (seed % size) + 1);
  return logits;
}

export const kinds = fc.constantFrom("plain", "flat", "steep", "ties", "equal", "few finite", "one finite");

/** Which tokens a mask allows: none, few, half, most, whole words or all; from a seed. */
export function maskOf(density: string, size: number, seed: number): Int32Array {
  const random = new RandomStream(seed);
  const shares: Record<string, number> = { none: 0, few: 0.02, half: 0.5, most: 0.98, all: 1 };
  const mask = new Int32Array(maskWords(size));
  for (let token = 0; token < 32 * mask.length; token++) {
    const allowed =
      density === "words" ? random.uniform(token >> 5) < 0.5 : random.uniform(token) < (shares[density] as number);
    if (allowed) mask[token >> 5]! |= 1 << (token & 31);
  }
  return mask;
}

export const densities = fc.constantFrom("few", "half", "most", "words", "all");
