import { Random } from "../soak/random.ts";
import type { Workload, WorkloadModel } from "./workload.ts";

export interface SyntheticOptions {
  readonly requests: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
  /** Lengths are drawn evenly from this share below to this share above; 0: all are the same. */
  readonly rangeRatio: number;
  readonly seed: number;
}

/** Prompts of random tokens, none of them special; no two begin alike. */
export function syntheticWorkload(options: SyntheticOptions, model: WorkloadModel): Workload {
  const { requests, inputTokens, outputTokens, rangeRatio, seed } = options;
  const random = new Random(seed);
  const lengthOf = drawLength(random, rangeRatio);
  const tokenOf = drawToken(random, model);
  return {
    labels: { input: inputTokens },
    facts: {},
    requests: Array.from({ length: requests }, () => {
      const length = lengthOf(inputTokens);
      const output = lengthOf(outputTokens);
      const promptIds = Array.from({ length }, tokenOf);
      return { promptIds, outputTokens: output, seed: random.integer(0, 2 ** 31 - 1) };
    }),
  };
}

/** vLLM's bounds: floor of the least, ceiling of the most, and never none. */
export function lengthBounds(length: number, rangeRatio: number): readonly [number, number] {
  return [Math.max(1, Math.floor(length * (1 - rangeRatio))), Math.max(1, Math.ceil(length * (1 + rangeRatio)))];
}

function drawLength(random: Random, rangeRatio: number): (length: number) => number {
  return (length) => random.integer(...lengthBounds(length, rangeRatio));
}

function drawToken(random: Random, { tokenizer, vocabSize }: WorkloadModel): () => number {
  // Either may know more than the other.
  const most = Math.min(vocabSize, tokenizer.vocabSize) - 1;
  const special = new Map<number, boolean>();
  const isSpecial = (id: number) => {
    const known =
      special.get(id) ?? tokenizer.specialToken(tokenizer.decode([id], { skipSpecialTokens: false })) === id;
    special.set(id, known);
    return known;
  };
  return () => {
    for (;;) {
      const id = random.integer(0, most);
      if (!isSpecial(id)) return id;
    }
  };
}
