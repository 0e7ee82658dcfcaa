import { describe, expect, it } from "vitest";
import { loadModel } from "../../models/load.ts";
import type { PreparedModel } from "../../models/types.ts";
import { writeCheckpointGguf } from "../support/checkpoint-gguf.ts";
import {
  type CheckpointVariant,
  idsOf,
  knownRows,
  logitsOf,
  variantNamed,
  variants,
  writeCheckpoint,
} from "../support/checkpoints.ts";
import { maxDifference } from "../support/golden.ts";
import { hasExport, isExporter, writeExport } from "../support/parity-exports.ts";
import { type Passage, passages, type Road, roads } from "../support/parity-roads.ts";
import { openFor, SequenceRunner } from "../support/sequence-runner.ts";
import { removeTemporaryFolders, temporaryFolder } from "./exports.ts";

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

function writeModel(variant: CheckpointVariant, road: Road): string {
  const folder = temporaryFolder();
  if (road === "gguf") return writeCheckpointGguf(folder, variant);
  return isExporter(road) ? writeExport(folder, variant, road) : writeCheckpoint(folder, variant);
}

/** Loads for just the text's length, which dynamic and longrope scaling go by, as they do in transformers. */
function load(path: string, { tokens }: CheckpointVariant): Promise<PreparedModel> {
  return loadModel(path, { maxContext: tokens });
}

/** Logits of the known rows, in chunks of the given sizes. */
async function logitsBy(model: PreparedModel, variant: CheckpointVariant, chunks: readonly number[]) {
  const session = await openFor(model, variant.tokens);
  try {
    return knownRows(variant, await new SequenceRunner(session).runChunks(idsOf(variant), chunks));
  } finally {
    session.close();
  }
}

function on(road: Road): (readonly [string, Passage])[] {
  return passages.filter((passage) => passage.road === road).map((passage) => [passage.variant.name, passage] as const);
}

describe.each(roads)("transformers' logits by the road %s", (road) => {
  it.each(on(road).filter(([, { gap }]) => gap === undefined))("%s", async (_, { variant }) => {
    const expected = logitsOf(variant);
    const scale = largest(expected);
    expect(scale).toBeGreaterThan(0.5);
    const model = await load(writeModel(variant, road), variant);
    expect(model).toMatchObject({
      name: variant.name,
      cached: false,
      report: { format: isExporter(road) ? "onnx" : road === "gguf" ? "gguf" : "safetensors" },
    });
    const prefilled = await logitsBy(model, variant, [variant.tokens]);
    expect(maxDifference(prefilled, expected) / scale).toBeLessThan(TOLERANCE);
    // Decoding token by token: other kernels, the same numbers.
    const decoded = await logitsBy(model, variant, [7, 1]);
    expect(maxDifference(decoded, expected) / scale).toBeLessThan(TOLERANCE);
  });
});

describe("roads that are not there", () => {
  it("are those without a file", () => {
    const exports = passages.filter(({ road }) => isExporter(road));
    const missing = exports.filter(({ variant, road }) => isExporter(road) && !hasExport(variant, road));
    expect(missing).toEqual(exports.filter(({ gap }) => gap !== undefined && gap.refused === undefined));
  });

  const refused = passages.filter(({ gap }) => gap?.refused);
  it.each(refused.map((passage) => [passage.variant.name, passage.road, passage] as const))(
    "%s by %s is refused",
    async (_, road, { variant, gap }) => {
      await expect(load(writeModel(variant, road), variant)).rejects.toThrow(gap!.refused!);
    },
  );
});

describe("exports whose graph is not what config.json says", () => {
  it("has longrope's short frequencies and is asked for longer texts", async () => {
    const variant = variantNamed("phi3-longrope-beyond");
    const folder = writeExport(temporaryFolder(), variant, "script", { graphOf: "phi3-longrope-inside" });
    await expect(load(folder, variant)).rejects.toThrow("rope as --max-context chooses it (long)");
  });

  it("has a window that config.json does not have", async () => {
    const variant = variantNamed("mistral-no-window");
    const folder = writeExport(temporaryFolder(), variant, "script", { graphOf: "mistral-window" });
    await expect(load(folder, variant)).rejects.toThrow(/layer 0, node ".*Softmax" \(Softmax\): on 2 tokens behind 62/);
  });

  it("has no window where config.json has one, and is served as it is", async () => {
    const variant = variantNamed("mistral-window");
    const folder = writeExport(temporaryFolder(), variant, "script", { graphOf: "mistral-no-window" });
    const model = await load(folder, variant);
    const whole = logitsOf(variantNamed("mistral-no-window"));
    const logits = await logitsBy(model, variant, [variant.tokens]);
    expect(maxDifference(logits, whole) / largest(whole)).toBeLessThan(TOLERANCE);
  });
});

describe("the variants", () => {
  it("differ, where they share weights, by far more than is tolerated", () => {
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
