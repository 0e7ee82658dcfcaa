import { inTurn } from "./clock.ts";
import type { System } from "./system.ts";

/** Compared position by position before anything is timed. */
export const CHECK_PROMPT =
  "The capital of France is Paris. Water boils at one hundred degrees, and the moon goes round the earth in about a month. " +
  "Once upon a time there was a little girl who lived with her mother at the edge of a great";
/** Two roundings of one model agree on nearly all positions of such a text; two models on a third or less. */
const LEAST_AGREEMENT = 0.8;

/** How often a peer and sparq find the same token the likeliest, over the positions of a real prompt. */
export interface Agreement {
  readonly same: number;
  readonly positions: number;
}

/**
 * Of each peer. Throws when one sees another number of layers or tokens, or differs from sparq as two models do, or a logit is not
 * finite.
 */
export async function checkAgreement(
  own: System,
  peers: readonly System[],
  prompt: readonly number[],
): Promise<Record<string, Agreement>> {
  for (const { name, layers, vocabSize } of peers) {
    if (layers === own.layers && vocabSize === own.vocabSize) continue;
    const sizes = `${layers} layers and ${vocabSize} tokens, sparq ${own.layers} and ${own.vocabSize}`;
    throw new Error(`${name} sees ${sizes}: one of the two does not run this model`);
  }
  const [expected, ...tops] = await inTurn([own, ...peers], (system) => system.check(prompt));
  const positions = prompt.length;
  const found = peers.map(({ name }, i) => {
    const same = expected!.filter((token, position) => token === tops[i]![position]).length;
    if (same >= LEAST_AGREEMENT * positions) return [name, { same, positions }] as const;
    throw new Error(
      `${name} and sparq do not run the same model: they agree at ${same} of ${positions} positions only`,
    );
  });
  return Object.fromEntries(found);
}
