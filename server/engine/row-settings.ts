import { greedySampling, isPenalised } from "../../attention/sampling.ts";
import type { RowSampling } from "../../attention/types.ts";
import type { SamplingParams } from "./types.ts";

/** A request's sampling as the step takes it, and the counts of its tokens that penalties need. */
export class RowSettings {
  private readonly fixed: RowSampling;
  /** Pairs of a token and how often it was generated; null without penalties. */
  private readonly counts: { pairs: Int32Array; length: number; readonly places: Map<number, number> } | null = null;

  constructor(sampling: SamplingParams, promptIds: readonly number[]) {
    const bias = [...(sampling.logitBias ?? [])];
    this.fixed = {
      ...greedySampling,
      temperature: sampling.temperature,
      topK: sampling.topK,
      topP: sampling.topP,
      minP: sampling.minP ?? 0,
      repetitionPenalty: sampling.repetitionPenalty ?? 1,
      presencePenalty: sampling.presencePenalty ?? 0,
      frequencyPenalty: sampling.frequencyPenalty ?? 0,
      biasTokens: Int32Array.from(bias, ([token]) => token),
      biases: Float32Array.from(bias, ([, value]) => value),
      ...(sampling.logprobs === undefined ? {} : { logprobs: sampling.logprobs }),
    };
    if (!isPenalised(this.fixed)) return;
    this.counts = { pairs: new Int32Array(256), length: 0, places: new Map() };
    // Only repetition asks for what is in the prompt alone.
    if (this.fixed.repetitionPenalty !== 1) for (const token of promptIds) this.placeOf(token);
  }

  /** How the next row is sampled, with this random number. Its counts change with the next count(). */
  next(uniform: number): RowSampling {
    if (this.counts === null) return { ...this.fixed, uniform };
    return { ...this.fixed, uniform, counts: this.counts.pairs.subarray(0, this.counts.length) };
  }

  /** Takes in a generated token. Mutates. */
  count(token: number): void {
    if (this.counts === null) return;
    const place = this.placeOf(token);
    this.counts.pairs[place + 1]! += 1;
  }

  /** Where a token's pair begins; appended, not yet generated, if it is new. */
  private placeOf(token: number): number {
    const counts = this.counts!;
    const known = counts.places.get(token);
    if (known !== undefined) return known;
    const place = counts.length;
    if (place === counts.pairs.length) {
      const larger = new Int32Array(2 * place);
      larger.set(counts.pairs);
      counts.pairs = larger;
    }
    counts.pairs[place] = token;
    counts.places.set(token, place);
    counts.length += 2;
    return place;
  }
}
