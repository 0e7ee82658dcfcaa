import { greedySampling, isPenalised } from "../../attention/sampling.ts";
import type { RowSampling } from "../../attention/types.ts";
import type { SamplingParams } from "./types.ts";

/** A request's sampling as the step takes it, and the counts of its tokens that penalties need. */
export class RowSettings {
  private readonly fixed: RowSampling;
  /** The same with the tokens ruled out that must not come yet. */
  private early: RowSampling | null = null;
  private readonly bias: ReadonlyMap<number, number>;
  private readonly notEarly: readonly number[];
  /** Pairs of a token and how often it was generated; null without penalties. */
  private readonly counts: { pairs: Int32Array; length: number; readonly places: Map<number, number> } | null = null;

  /** `notEarly`: tokens that next() rules out for early rows. */
  constructor(sampling: SamplingParams, promptIds: readonly number[], notEarly: Iterable<number> = []) {
    this.bias = sampling.logitBias ?? NO_BIAS;
    this.notEarly = [...notEarly];
    this.fixed = {
      ...greedySampling,
      temperature: sampling.temperature,
      topK: sampling.topK,
      topP: sampling.topP,
      minP: sampling.minP ?? 0,
      repetitionPenalty: sampling.repetitionPenalty ?? 1,
      presencePenalty: sampling.presencePenalty ?? 0,
      frequencyPenalty: sampling.frequencyPenalty ?? 0,
      ...biasOf(this.bias),
      ...(sampling.logprobs === undefined ? {} : { logprobs: sampling.logprobs }),
    };
    if (!isPenalised(this.fixed)) return;
    this.counts = { pairs: new Int32Array(256), length: 0, places: new Map() };
    // Only repetition asks for what is in the prompt alone.
    if (this.fixed.repetitionPenalty !== 1) for (const token of promptIds) this.placeOf(token);
  }

  /**
   * How the next row is sampled, with this random number; or the one after the tokens of `draft`, if these come to be. Its
   * counts change with the next count().
   */
  next(uniform: number, early = false, draft: readonly number[] = []): RowSampling {
    const settings = early ? this.earlySettings() : this.fixed;
    if (this.counts === null) return { ...settings, uniform };
    return { ...settings, uniform, counts: this.countsAfter(draft) };
  }

  private earlySettings(): RowSampling {
    const ruledOut = this.notEarly.map((token) => [token, Number.NEGATIVE_INFINITY] as const);
    this.early ??= { ...this.fixed, ...biasOf(new Map([...this.bias, ...ruledOut])) };
    return this.early;
  }

  /** Takes in a generated token. Mutates. */
  count(token: number): void {
    if (this.counts === null) return;
    const place = this.placeOf(token);
    this.counts.pairs[place + 1]! += 1;
  }

  private countsAfter(draft: readonly number[]): Int32Array {
    const { pairs, length, places } = this.counts!;
    const known = pairs.subarray(0, length);
    if (draft.length === 0) return known;
    const fresh = [...new Set(draft)].filter((token) => !places.has(token));
    const counts = new Int32Array(length + 2 * fresh.length);
    counts.set(known);
    for (const [i, token] of fresh.entries()) counts[length + 2 * i] = token;
    for (const token of draft) counts[(places.get(token) ?? length + 2 * fresh.indexOf(token)) + 1]! += 1;
    return counts;
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

type BiasArrays = Pick<RowSampling, "biasTokens" | "biases">;

const NO_BIAS: ReadonlyMap<number, number> = new Map();

/** The choices of one request have one bias, which may name every token: they share its arrays. */
const arrays = new WeakMap<ReadonlyMap<number, number>, BiasArrays>();

function biasOf(bias: ReadonlyMap<number, number>): BiasArrays {
  const made = arrays.get(bias) ?? {
    biasTokens: Int32Array.from(bias.keys()),
    biases: Float32Array.from(bias.values()),
  };
  arrays.set(bias, made);
  return made;
}
