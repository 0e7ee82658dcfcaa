import type { RowSampling, SampledRow, SampledRows, SamplingInput } from "./types.ts";

/** float64 values per row in SamplingInput.params, as kSamplingParams in native/sampling.h. */
export const SAMPLING_PARAMS = 10;

/** Most likely tokens of which a row may ask log-probabilities, as kMostLogprobs there. */
export const MOST_LOGPROBS = 20;

const NO_INTS = new Int32Array();

/** Words of a mask over a vocabulary, as RowSampling.mask has them. */
export function maskWords(vocabSize: number): number {
  return Math.ceil(vocabSize / 32);
}

/** Greedy: what a row's sampling begins from. */
export const greedySampling: RowSampling = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  counts: NO_INTS,
  biasTokens: NO_INTS,
  biases: new Float32Array(),
  uniform: 0,
};

/** Lays the sampling of logit rows out in flat arrays; `rows` are their numbers among the step's logit rows, ascending. */
export function packSampling(rows: readonly number[], sampling: readonly RowSampling[]): SamplingInput {
  const params = new Float64Array(rows.length * SAMPLING_PARAMS);
  for (const [i, row] of sampling.entries()) {
    const { temperature, topP, minP, repetitionPenalty, frequencyPenalty, presencePenalty, uniform, topK } = row;
    const numbers = [temperature, topP, minP, repetitionPenalty, frequencyPenalty, presencePenalty, uniform, topK];
    params.set([...numbers, row.logprobs ?? -1, row.token ?? -1], i * SAMPLING_PARAMS);
  }
  const counts = sampling.map((row) => (isPenalised(row) ? row.counts : NO_INTS));
  const biasTokens = sampling.map((row) => row.biasTokens);
  const masks = sampling.map((row) => row.mask ?? NO_INTS);
  return {
    rows: Int32Array.from(rows),
    params,
    countStarts: startsOf(counts, 2),
    counts: joined(Int32Array, counts),
    biasStarts: startsOf(biasTokens, 1),
    biasTokens: joined(Int32Array, biasTokens),
    biases: joined(
      Float32Array,
      sampling.map(({ biases }) => biases),
    ),
    maskStarts: startsOf(masks, 1),
    masks: joined(Int32Array, masks),
  };
}

/** Whether a row's counts matter. */
export function isPenalised(row: Pick<RowSampling, "repetitionPenalty" | "presencePenalty" | "frequencyPenalty">) {
  return row.repetitionPenalty !== 1 || row.presencePenalty !== 0 || row.frequencyPenalty !== 0;
}

/** Row `index` of what was sampled; `asked` is how many of the likeliest tokens it asked for. */
export function sampledRow(rows: SampledRows, index: number, asked = 0): SampledRow {
  const tokenId = rows.tokenIds[index]!;
  const fault = rows.faults[index]!;
  if (fault !== 0) return { tokenId, logprob: Number.NaN, top: [], error: faultOf(fault, tokenId) };
  if (asked === 0) return { tokenId, logprob: rows.logprobs[index]!, top: [] };
  const first = index * rows.topCount;
  const top = Array.from(rows.topIds.subarray(first, first + asked), (id, i) => {
    return { tokenId: id, logprob: rows.topLogprobs[first + i]! };
  });
  return { tokenId, logprob: rows.logprobs[index]!, top: top.filter((entry) => entry.tokenId >= 0) };
}

/** What is wrong with a row, by its number in native/sampling.h; the token at fault is named. */
function faultOf(fault: number, tokenId: number): Error {
  if (fault === 1) return new RangeError(`the model's logit for token ${tokenId} is NaN`);
  if (fault === 2) return new RangeError(`the model's largest logit, for token ${tokenId}, is not finite`);
  if (fault === 4) return new RangeError("no token that the mask allows has a finite logit");
  return new Error("not enough memory to sample");
}

function startsOf(lists: readonly Int32Array[], width: number): Int32Array {
  const starts = new Int32Array(lists.length + 1);
  for (const [i, { length }] of lists.entries()) starts[i + 1] = starts[i]! + length / width;
  return starts;
}

function joined<T extends Int32Array | Float32Array>(make: new (length: number) => T, lists: readonly T[]): T {
  const whole = new make(lists.reduce((length, list) => length + list.length, 0));
  let end = 0;
  for (const list of lists) {
    whole.set(list, end);
    end += list.length;
  }
  return whole;
}
