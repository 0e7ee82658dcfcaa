import { isPenalised } from "./sampling.ts";
import { cutTop, orderedBits } from "./top-cut.ts";
import type { RowSampling, SampledRow, TokenLogprob } from "./types.ts";

// 2^-y by table: y in steps of 1/2048, and a second-order correction between them (relative error below 1e-11). Three to
// six times faster than Math.exp, which would cost a batch of 16 x 49152 logits tens of milliseconds.
const STEP_BITS = 11;
const STEPS = 1 << STEP_BITS;
const LOWEST = 1074; // 2^-1074 is the smallest double
const FRACTIONS = Float64Array.from({ length: STEPS }, (_, i) => 2 ** (i / STEPS));
const POWERS = Float64Array.from({ length: LOWEST + 2 }, (_, i) => 2 ** -i);

/** 2^-octaves for octaves >= 0, infinity included. */
function decay(octaves: number): number {
  if (!(octaves < LOWEST)) return 0;
  // Integers throughout, since V8 keeps `| 0` and shifts out of floating point.
  const scaled = octaves * STEPS;
  const whole = (scaled + 1) | 0; // above `scaled`, by at most one
  const power = (whole + STEPS - 1) >> STEP_BITS;
  const rest = (whole - scaled) * (Math.LN2 / STEPS);
  return POWERS[power]! * FRACTIONS[(power << STEP_BITS) - whole]! * (1 + rest * (1 + rest * 0.5));
}

/** Neighbouring tokens that share a maximum and a partial sum. */
const STRIDE = 64;

/**
 * The sampler in TypeScript, which native/sampling.cc is tested and measured against: weights are float64, and their sums
 * in the order of ids. See native/sampling.h for what a row's parameters mean. Keeps scratch space for one vocabulary;
 * results depend on the arguments alone.
 *
 * Nothing is sorted: a bound that all kept tokens are sure to reach leaves few candidates, and `cutTop` does the rest.
 */
export class Sampler {
  private readonly keys: Uint32Array;
  private readonly weights: Float64Array;
  private readonly ids: Int32Array;
  private readonly maxima: Float32Array;
  private readonly sums: Float64Array;

  constructor(vocabSize: number) {
    this.keys = new Uint32Array(vocabSize);
    this.weights = new Float64Array(vocabSize);
    this.ids = new Int32Array(vocabSize);
    this.maxima = new Float32Array(Math.ceil(vocabSize / STRIDE));
    this.sums = new Float64Array(Math.ceil(vocabSize / STRIDE));
  }

  /**
   * @param logits of one row, [vocabSize]; -Infinity rules a token out. Not changed
   * @returns the token and the log-probabilities asked for; an error if a logit is NaN or none is finite
   */
  sample(logits: Float32Array, row: RowSampling): SampledRow {
    try {
      const tokenId = row.token ?? this.choose(adjusted(masked(logits, row), row), row);
      if (row.logprobs === undefined) return { tokenId, logprob: Number.NaN, top: [] };
      return { tokenId, ...logprobsOf(logits, tokenId, row.logprobs, this.argmax(logits)) };
    } catch (error) {
      return { tokenId: -1, logprob: Number.NaN, top: [], error: error as Error };
    }
  }

  /** A token id. Throws RangeError if a logit is NaN or none is finite: the model is at fault then. */
  private choose(logits: Float32Array, row: RowSampling): number {
    if (row.mask !== undefined && logits.every((logit) => logit === Number.NEGATIVE_INFINITY)) {
      throw new RangeError("no token that the mask allows has a finite logit");
    }
    const best = this.argmax(logits);
    const { temperature, topK, topP, minP, uniform } = row;
    if (temperature === 0 || topK === 1) return best;
    const peak = logits[best]!;
    // Octaves per unit of logit. Finite, since 0 * Infinity would make the best token's weight NaN.
    const scale = Math.min(Math.LOG2E / temperature, Number.MAX_VALUE);
    const limited = topK > 0 && topK < logits.length;
    if (!limited && topP >= 1 && minP === 0) return this.drawFromAll(logits, peak, scale, uniform);

    let count: number;
    let mass: number;
    if (limited) {
      count = cutTop(this.keys, null, this.ids, this.collect(logits, this.boundOfTop(topK)), topK);
      mass = topP * this.weigh(logits, peak, scale, count);
    } else {
      const total = this.sumStrides(logits, peak, scale);
      mass = topP * total;
      // Tokens lighter than 1/V of the mass left out cannot be needed: together they weigh less than it.
      const ofNucleus = topP < 1 ? -Math.log2(((1 - topP) * total) / logits.length) : LOWEST;
      const octaves = minP > 0 ? Math.min(ofNucleus, 1 - Math.log2(minP)) : ofNucleus;
      count = this.collect(logits, peak - octaves / scale);
      this.weigh(logits, peak, scale, count);
    }
    if (topP < 1) count = cutTop(this.keys, this.weights, this.ids, count, mass);
    if (minP > 0) count = this.dropLight(count, minP * decay(0));
    let kept = 0;
    for (let i = 0; i < count; i++) kept += this.weights[i]!;
    return this.ids[draw(this.weights, count, uniform * kept)]!;
  }

  /** The lowest id with the largest logit; leaves the maximum of each stride. */
  private argmax(logits: Float32Array): number {
    let best = 0;
    let peak = Number.NEGATIVE_INFINITY;
    for (let s = 0; s < this.maxima.length; s++) {
      const end = Math.min((s + 1) * STRIDE, logits.length);
      let maximum = Number.NEGATIVE_INFINITY;
      for (let i = s * STRIDE; i < end; i++) {
        const logit = logits[i]!;
        if (logit <= maximum) continue;
        if (Number.isNaN(logit)) throw new RangeError(`the model's logit for token ${i} is NaN`);
        maximum = logit;
      }
      this.maxima[s] = maximum;
      if (maximum <= peak) continue;
      peak = maximum;
      best = logits.indexOf(maximum, s * STRIDE);
    }
    if (!Number.isFinite(peak)) throw new RangeError(`the model's largest logit, for token ${best}, is not finite`);
    return best;
  }

  /** A logit that at least k tokens reach: the k-th largest of the strides' maxima. */
  private boundOfTop(k: number): number {
    return this.maxima.slice().sort().at(-k) ?? Number.NEGATIVE_INFINITY;
  }

  /** Candidates: the tokens whose logits reach `bound`, ids ascending. Returns how many. */
  private collect(logits: Float32Array, bound: number): number {
    const { keys, ids, maxima } = this;
    const bits = new Uint32Array(logits.buffer, logits.byteOffset, logits.length);
    let count = 0;
    for (let s = 0; s < maxima.length; s++) {
      if (maxima[s]! < bound) continue;
      const end = Math.min((s + 1) * STRIDE, logits.length);
      for (let i = s * STRIDE; i < end; i++) {
        if (logits[i]! < bound) continue;
        keys[count] = orderedBits(bits[i]!);
        ids[count] = i;
        count++;
      }
    }
    return count;
  }

  /** Computes the candidates' weights; returns their sum. */
  private weigh(logits: Float32Array, peak: number, scale: number, count: number): number {
    let total = 0;
    for (let i = 0; i < count; i++) {
      const weight = decay((peak - logits[this.ids[i]!]!) * scale);
      this.weights[i] = weight;
      total += weight;
    }
    return total;
  }

  /** Drops candidates that weigh less than `least`; returns how many stay. */
  private dropLight(count: number, least: number): number {
    const { weights, ids } = this;
    let kept = 0;
    for (let i = 0; i < count; i++) {
      if (weights[i]! < least) continue;
      weights[kept] = weights[i]!;
      ids[kept] = ids[i]!;
      kept++;
    }
    return kept;
  }

  /** Sums the weights of each stride; returns the total. */
  private sumStrides(logits: Float32Array, peak: number, scale: number): number {
    let total = 0;
    for (let s = 0; s < this.sums.length; s++) {
      const end = Math.min((s + 1) * STRIDE, logits.length);
      let sum = 0;
      for (let i = s * STRIDE; i < end; i++) sum += decay((peak - logits[i]!) * scale);
      this.sums[s] = sum;
      total += sum;
    }
    return total;
  }

  /** A draw from the whole vocabulary: only the stride that is hit is weighed token by token. */
  private drawFromAll(logits: Float32Array, peak: number, scale: number, uniform: number): number {
    const { sums, weights } = this;
    let target = uniform * this.sumStrides(logits, peak, scale);
    const stride = draw(sums, sums.length, target);
    for (let s = 0; s < stride; s++) target -= sums[s]!;
    const start = stride * STRIDE;
    const length = Math.min(STRIDE, logits.length - start);
    for (let i = 0; i < length; i++) weights[i] = decay((peak - logits[start + i]!) * scale);
    return start + draw(weights, length, target);
  }
}

/** The logits with -Infinity for what the mask rules out: themselves if there is none. */
function masked(logits: Float32Array, { mask }: RowSampling): Float32Array {
  if (mask === undefined) return logits;
  return logits.map((logit, i) => ((mask[i >> 5]! >> (i & 31)) & 1 ? logit : Number.NEGATIVE_INFINITY));
}

/** The logits with bias and penalties: themselves if there are none. */
function adjusted(logits: Float32Array, row: RowSampling): Float32Array {
  const { biasTokens, biases, counts, repetitionPenalty, frequencyPenalty, presencePenalty } = row;
  if (biasTokens.length === 0 && !isPenalised(row)) return logits;
  const copy = logits.slice();
  for (const [i, token] of biasTokens.entries()) copy[token]! += biases[i]!;
  if (!isPenalised(row)) return copy;
  for (let i = 0; i < counts.length; i += 2) {
    const [token, count] = [counts[i]!, counts[i + 1]!];
    const logit = copy[token]!;
    const repeated = logit > 0 ? logit / repetitionPenalty : logit * repetitionPenalty;
    copy[token] = repeated - frequencyPenalty * count - (count > 0 ? presencePenalty : 0);
  }
  return copy;
}

/** Of one token, and of the `count` likeliest. */
function logprobsOf(logits: Float32Array, tokenId: number, count: number, best: number) {
  const peak = logits[best]!;
  const logOfSum = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - peak), 0));
  const entry = (id: number): TokenLogprob => ({ tokenId: id, logprob: logits[id]! - peak - logOfSum });
  const order = count === 0 ? [] : [...logits.keys()].sort((a, b) => logits[b]! - logits[a]! || a - b);
  return { logprob: entry(tokenId).logprob, top: order.slice(0, count).map(entry) };
}

/** The first index at which the running sum of weights passes `target`; by rounding at the end, the last with any weight. */
function draw(weights: Float64Array, count: number, target: number): number {
  let reached = 0;
  let last = 0;
  for (let i = 0; i < count; i++) {
    if (weights[i] === 0) continue;
    last = i;
    reached += weights[i]!;
    if (reached > target) break;
  }
  return last;
}
