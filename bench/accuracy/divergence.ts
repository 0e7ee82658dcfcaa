/** How far a model's predictions are from a reference's, over rows of logits. */

/** A row of logits as a distribution. */
export interface Distribution {
  readonly logits: Float32Array; // [vocabSize]
  /** exp(logits - normaliser) */
  readonly probabilities: Float64Array; // [vocabSize]
  /** log(sum(exp(logits))) */
  readonly normaliser: number;
  /** The likeliest token; of equals the first. */
  readonly top: number;
}

export function distributionOf(logits: Float32Array): Distribution {
  const top = likeliest(logits);
  const most = logits[top]!;
  const probabilities = new Float64Array(logits.length);
  let sum = 0;
  for (let i = 0; i < logits.length; i++) {
    const weight = Math.exp(logits[i]! - most);
    probabilities[i] = weight;
    sum += weight;
  }
  for (let i = 0; i < logits.length; i++) probabilities[i]! /= sum;
  return { logits, probabilities, normaliser: most + Math.log(sum), top };
}

/** KL(reference || other) in nats, at least 0. Logits must be finite and of one length. */
export function divergence(reference: Distribution, other: Pick<Distribution, "logits" | "normaliser">): number {
  const { logits, probabilities } = reference;
  let difference = 0;
  for (let i = 0; i < logits.length; i++) difference += probabilities[i]! * (logits[i]! - other.logits[i]!);
  // Rounding may leave a little less than nothing.
  return Math.max(0, difference - reference.normaliser + other.normaliser);
}

/** Cost of a token, -log(p), in nats. */
export function surprise({ logits, normaliser }: Pick<Distribution, "logits" | "normaliser">, token: number): number {
  return normaliser - logits[token]!;
}

function likeliest(logits: Float32Array): number {
  let top = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i]! > logits[top]!) top = i;
  return top;
}
