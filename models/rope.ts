/** How rope's frequencies are stretched for long contexts. Names and meanings as in Hugging Face transformers. */
export type RopeScaling =
  | { readonly type: "default" }
  | { readonly type: "linear"; readonly factor: number }
  | { readonly type: "dynamic"; readonly factor: number; readonly originalMaxPositions: number }
  | {
      readonly type: "llama3";
      readonly factor: number;
      readonly lowFreqFactor: number;
      readonly highFreqFactor: number;
      readonly originalMaxPositions: number;
    }
  | {
      readonly type: "yarn";
      readonly factor: number;
      readonly originalMaxPositions: number;
      readonly betaFast: number;
      readonly betaSlow: number;
      readonly truncate: boolean;
      /** Multiplied into cos and sin; computed from the factor when undefined. */
      readonly attentionFactor?: number | undefined;
      readonly mscale?: number | undefined;
      readonly mscaleAllDim?: number | undefined;
    }
  | {
      readonly type: "longrope";
      readonly factor: number;
      readonly originalMaxPositions: number;
      /** [rotaryDim / 2] each: what divides the frequencies up to the original context, and beyond it. */
      readonly shortFactors: readonly number[];
      readonly longFactors: readonly number[];
      readonly attentionFactor?: number | undefined;
    };

export const ropeTypes: readonly RopeScaling["type"][] = ["default", "linear", "dynamic", "llama3", "yarn", "longrope"];

export interface RopeFrequencies {
  /** [rotaryDim / 2], radians per position. */
  readonly inverseFrequencies: Float32Array;
  /** Multiplied into cos and sin. */
  readonly ropeScale: number;
}

/**
 * Inverse frequencies in float32 arithmetic, step by step as transformers' modeling_rope_utils.py has torch compute them
 * (v5.18; powers may differ by one unit in the last place, torch's are not correctly rounded).
 * @param theta the base period, e.g. 10000
 * @param rotaryDim components of a head that are rotated; even
 * @param context the longest sequence there will be, which "dynamic" and "longrope" go by. transformers goes by the sequence at
 *   hand and then attends to keys that were rotated otherwise before; here all of a server's sequences have one set
 */
export function ropeFrequencies(theta: number, rotaryDim: number, scaling: RopeScaling, context = 0): RopeFrequencies {
  const periods = periodsOf(theta, rotaryDim);
  const plain = periods.map((period) => 1 / period);
  switch (scaling.type) {
    case "default":
      return { inverseFrequencies: plain, ropeScale: 1 };
    case "linear":
      return { inverseFrequencies: plain.map((frequency) => frequency / scaling.factor), ropeScale: 1 };
    case "dynamic":
      return {
        inverseFrequencies: periodsOf(dynamicTheta(theta, rotaryDim, scaling, context), rotaryDim).map((p) => 1 / p),
        ropeScale: 1,
      };
    case "llama3":
      return { inverseFrequencies: plain.map((frequency) => llama3Frequency(frequency, scaling)), ropeScale: 1 };
    case "yarn":
      return { inverseFrequencies: yarnFrequencies(theta, periods, scaling), ropeScale: yarnScale(scaling) };
    case "longrope": {
      const factors = context > scaling.originalMaxPositions ? scaling.longFactors : scaling.shortFactors;
      const inverseFrequencies = periods.map((period, i) => 1 / fround(fround(factors[i]!) * period));
      return { inverseFrequencies, ropeScale: longropeScale(scaling) };
    }
  }
}

/** [rotaryDim / 2] */
function periodsOf(theta: number, rotaryDim: number): Float32Array {
  return Float32Array.from({ length: rotaryDim / 2 }, (_, i) => theta ** Math.fround((2 * i) / rotaryDim));
}

/** A longer base period, so that the slowest component just makes up for the longer context (NTK-aware scaling). */
function dynamicTheta(
  theta: number,
  rotaryDim: number,
  { factor, originalMaxPositions }: RopeScaling & { type: "dynamic" },
  context: number,
): number {
  const stretch = (factor * Math.max(context, originalMaxPositions)) / originalMaxPositions - (factor - 1);
  return rotaryDim === 2 ? theta : theta * stretch ** (rotaryDim / (rotaryDim - 2));
}

/** LongRoPE (arXiv 2402.13753). */
function longropeScale({ factor, originalMaxPositions, attentionFactor }: RopeScaling & { type: "longrope" }): number {
  if (attentionFactor !== undefined) return attentionFactor;
  return factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalMaxPositions));
}

const { fround } = Math;

/** Long wavelengths are stretched by the factor, short ones kept, those between blended. */
function llama3Frequency(frequency: number, scaling: RopeScaling & { type: "llama3" }): number {
  const { factor, lowFreqFactor, highFreqFactor, originalMaxPositions } = scaling;
  // torch divides a number by a tensor as number * reciprocal.
  const wavelength = fround(fround(1 / frequency) * fround(2 * Math.PI));
  if (wavelength > originalMaxPositions / lowFreqFactor) return fround(frequency / factor);
  if (wavelength < originalMaxPositions / highFreqFactor) return frequency;
  const turns = fround(fround(1 / wavelength) * originalMaxPositions);
  const smooth = fround(fround(turns - lowFreqFactor) / fround(highFreqFactor - lowFreqFactor));
  return fround(fround(fround(fround(1 - smooth) * frequency) / factor) + fround(smooth * frequency));
}

/** YaRN (arXiv 2309.00071): interpolate the slow components, keep the fast ones, with a linear ramp between. */
function yarnFrequencies(theta: number, periods: Float32Array, scaling: RopeScaling & { type: "yarn" }): Float32Array {
  const half = periods.length;
  const dim = 2 * half;
  const correctionDim = (turns: number) =>
    (dim * Math.log(scaling.originalMaxPositions / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const bounds = [correctionDim(scaling.betaFast), correctionDim(scaling.betaSlow)] as const;
  const low = Math.max(scaling.truncate ? Math.floor(bounds[0]) : bounds[0], 0);
  const end = Math.min(scaling.truncate ? Math.ceil(bounds[1]) : bounds[1], dim - 1);
  const high = low === end ? end + 0.001 : end;
  return periods.map((period, i) => {
    const ramp = Math.min(Math.max(fround(fround(i - low) / fround(high - low)), 0), 1);
    const keep = fround(1 - ramp);
    const interpolated = fround(1 / fround(scaling.factor * period));
    return fround(fround(interpolated * fround(1 - keep)) + fround(fround(1 / period) * keep));
  });
}

function yarnScale({ factor, attentionFactor, mscale, mscaleAllDim }: RopeScaling & { type: "yarn" }): number {
  if (attentionFactor !== undefined) return attentionFactor;
  const magnitude = (weight: number) => (factor <= 1 ? 1 : 0.1 * weight * Math.log(factor) + 1);
  return mscale && mscaleAllDim ? magnitude(mscale) / magnitude(mscaleAllDim) : magnitude(1);
}
