import { philox } from "../../server/engine/random.ts";

/** `count` random token ids below `vocabSize`; the same for the same seed. */
export function tokenIds(count: number, vocabSize: number, seed: number): number[] {
  return Array.from({ length: count }, (_, i) => philox([i, 0, 0, 0], [seed, 0])[0] % vocabSize);
}
