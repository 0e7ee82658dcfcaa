import { loadAddon } from "../../attention/binding.ts";
import { greedySampling, packSampling, sampledRow } from "../../attention/sampling.ts";
import { Sampler } from "../../attention/sampling-reference.ts";
import type { RowSampling, SampledRow } from "../../attention/types.ts";
import { RandomStream } from "../../server/engine/random.ts";

export interface SamplingImplementation {
  readonly name: string;
  /** Samples rows of `logits`, [rows, vocabSize]; as many rows as there are parameters. */
  sample(vocabSize: number, logits: Float32Array, rows: readonly RowSampling[]): SampledRow[];
}

export const referenceSampling: SamplingImplementation = {
  name: "reference",
  sample(vocabSize, logits, rows) {
    const sampler = new Sampler(vocabSize);
    return rows.map((row, i) => sampler.sample(logits.subarray(i * vocabSize, (i + 1) * vocabSize), row));
  },
};

export function nativeSampling(path: string, threads = 2): SamplingImplementation {
  return {
    name: path,
    sample(vocabSize, logits, rows) {
      const input = packSampling([...rows.keys()], rows);
      const sampled = loadAddon().sample(path, threads, vocabSize, logits, input);
      return rows.map((row, i) => sampledRow(sampled, i, row.logprobs));
    },
  };
}

/** Sampling from the plain softmax but for what `changes` says. */
export function rowOf(changes: Partial<RowSampling> = {}): RowSampling {
  return { ...greedySampling, temperature: 1, ...changes };
}

/** Normally distributed, from a seed. */
export function someLogits(length: number, seed: number, spread = 3): Float32Array {
  const random = new RandomStream(seed);
  return Float32Array.from({ length }, (_, i) => {
    const [u, v] = [random.uniform(2 * i), random.uniform(2 * i + 1)];
    return spread * Math.sqrt(-2 * Math.log(1 - u)) * Math.cos(2 * Math.PI * v);
  });
}

/** Bias, then penalties, one token after the other. */
export function adjustedByTheBook(logits: Float32Array, row: RowSampling): Float32Array {
  const result = logits.slice();
  row.biasTokens.forEach((token, i) => {
    result[token]! += row.biases[i]!;
  });
  for (let i = 0; i < row.counts.length; i += 2) {
    const [token, count] = [row.counts[i]!, row.counts[i + 1]!];
    const before = result[token]!;
    const repeated = before > 0 ? before / row.repetitionPenalty : before * row.repetitionPenalty;
    result[token] = repeated - row.frequencyPenalty * count - (count > 0 ? row.presencePenalty : 0);
  }
  return result;
}

/** Each token's probability, by the book: softmax, sort, cut, cut, cut, renormalise. */
export function probabilities(given: Float32Array, row: RowSampling): Float64Array {
  const logits = adjustedByTheBook(given, row);
  const peak = logits.reduce((largest, x) => Math.max(largest, x), Number.NEGATIVE_INFINITY);
  const weights = Float64Array.from(logits, (x) => Math.exp((x - peak) / row.temperature));
  let order = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]! || a - b);
  if (row.topK > 0) order = order.slice(0, row.topK);
  const total = order.reduce((sum, id) => sum + weights[id]!, 0);
  if (row.topP < 1) {
    let reached = 0;
    const end = order.findIndex((id) => {
      reached += weights[id]!;
      return reached >= row.topP * total;
    });
    if (end >= 0) order = order.slice(0, end + 1);
  }
  order = order.filter((id) => weights[id]! >= row.minP);
  const kept = order.reduce((sum, id) => sum + weights[id]!, 0);
  const result = new Float64Array(logits.length);
  for (const id of order) result[id] = weights[id]! / kept;
  return result;
}

/** How far weights, thresholds and sums may be off: f32 arithmetic over exponents of up to 24. */
const ROUNDING = 1e-5;

/**
 * Whether `tokenId` may be the draw: the random number lies in its interval of the summed probabilities, ids ascending, to
 * rounding. A token at the edge of a nucleus may be in or out by rounding, which moves all intervals; both are allowed.
 */
export function mayBeDrawn(logits: Float32Array, row: RowSampling, tokenId: number): boolean {
  const near = (value: number, most: number) => [value, value * (1 - ROUNDING), Math.min(most, value * (1 + ROUNDING))];
  const topPs = row.topP < 1 ? near(row.topP, 1) : [1];
  const minPs = row.minP > 0 ? near(row.minP, 1) : [0];
  return topPs.some((topP) =>
    minPs.some((minP) => {
      const shares = probabilities(logits, { ...row, topP, minP });
      const before = shares.subarray(0, tokenId).reduce((sum, p) => sum + p, 0);
      const share = shares[tokenId]!;
      return share > 0 && before - ROUNDING <= row.uniform && row.uniform <= before + share + ROUNDING;
    }),
  );
}
