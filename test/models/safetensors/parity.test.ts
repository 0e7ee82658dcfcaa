import { describe, expect, it } from "vitest";
import { loadModel } from "../../../models/load.ts";
import type { LoadModelOptions } from "../../../models/types.ts";
import {
  type CheckpointVariant,
  idsOf,
  knownRows,
  logitsOf,
  variants,
  writeCheckpoint,
} from "../../support/checkpoints.ts";
import { maxDifference } from "../../support/golden.ts";
import { openFor, SequenceRunner } from "../../support/sequence-runner.ts";
import { removeTemporaryFolders, temporaryFolder } from "../exports.ts";

removeTemporaryFolders();

/**
 * Of the largest logit. Both sides compute in float32 with weights that the files hold exactly; what differs is the order of
 * sums, a unit or two of 2^-24 in each of some twenty operations a layer, and exp, erf, sine and cosine by other polynomials.
 * Found: 4e-7 to 2.6e-6, and 6.2e-6 where a model amplifies it (mistral-no-window). A wrong variant differs by 1e-3 and more.
 */
const TOLERANCE = 3e-5;

function largest(values: Float32Array): number {
  return values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
}

async function run(variant: CheckpointVariant, chunks: readonly number[], options: LoadModelOptions = {}) {
  const folder = writeCheckpoint(temporaryFolder(), variant);
  // The context is what dynamic and longrope scaling go by, as the length of the text is in transformers.
  const model = await loadModel(folder, { maxContext: variant.tokens, ...options });
  const session = await openFor(model, variant.tokens);
  try {
    return { model, logits: knownRows(variant, await new SequenceRunner(session).runChunks(idsOf(variant), chunks)) };
  } finally {
    session.close();
  }
}

describe("checkpoints against transformers", () => {
  it.each(variants.map((variant) => [variant.name, variant] as const))("%s", async (_, variant) => {
    const expected = logitsOf(variant);
    const scale = largest(expected);
    expect(scale).toBeGreaterThan(0.5);
    const { model, logits } = await run(variant, [variant.tokens]);
    expect(model).toMatchObject({ name: variant.name, cached: false, report: { format: "safetensors" } });
    expect(maxDifference(logits, expected) / scale).toBeLessThan(TOLERANCE);
    // Decoding token by token: other kernels, the same numbers.
    const decoded = await run(variant, [7, 1]);
    expect(maxDifference(decoded.logits, expected) / scale).toBeLessThan(TOLERANCE);
  });

  it("tells every variant from the others that share its weights", () => {
    const close = variants.flatMap((a, i) =>
      variants.slice(i + 1).flatMap((b) => {
        if (a.files[0] !== b.files[0] || a.tokens !== b.tokens) return [];
        return maxDifference(logitsOf(a), logitsOf(b)) < 30 * TOLERANCE * largest(logitsOf(a))
          ? [[a.name, b.name]]
          : [];
      }),
    );
    // The same scaling in two spellings.
    expect(close).toEqual([
      ["llama-linear-type", "llama-linear-rope_type"],
      ["llama-dynamic-beyond", "llama-dynamic-rope_type"],
      ["llama-llama3-type", "llama-llama3-rope_type"],
    ]);
  });
});
