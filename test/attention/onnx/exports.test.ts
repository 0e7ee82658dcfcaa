import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { describe, expect, it } from "vitest";
import { openDecoder } from "../../../attention/onnx/session.ts";
import { packageRoot } from "../../../attention/root.ts";
import type { StepSession } from "../../../attention/session.ts";
import { locateAsIs, readAsIsConfig } from "../../../models/as-is.ts";
import { exportsFolder, readGolden, variants } from "../../models/exports.ts";
import { dense } from "../../support/dense.ts";

const BLOCK = 8;

/** A session over a folder's model, in blocks so small that prompts have several, and the size of its vocabulary. */
async function open(folder: string): Promise<{ session: StepSession; vocabSize: number }> {
  const path = join(folder, "config.json");
  const config = existsSync(path)
    ? readAsIsConfig(JSON.parse(readFileSync(path, "utf8")), undefined, path)
    : locateAsIs(folder).config;
  const decoder = await openDecoder(join(folder, "model.onnx"), { ...config, certain: config.known }, { threads: 1 });
  return { session: await decoder.begin({ blocks: 16, blockSize: BLOCK }), vocabSize: decoder.signature.vocabSize };
}

function difference(a: Float32Array, b: Float32Array): number {
  expect(a.length).toBe(b.length);
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0);
}

function rootMeanSquare(values: Float32Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
}

/** The folder's golden prompt, run in parts that end at `ends`, over the blocks of a table; [prompt, vocabSize]. */
async function run(
  session: StepSession,
  prompt: readonly number[],
  blockTable: readonly number[],
  ends: readonly number[],
): Promise<Float32Array> {
  const parts: Float32Array[] = [];
  for (const [i, end] of ends.entries()) {
    const begin = ends[i - 1] ?? 0;
    const step = { ...dense, tokenIds: prompt.slice(begin, end), contextLength: begin, blockTable };
    const { logits, errors } = await session.step([{ ...step, logits: "all" }]);
    expect(errors).toEqual([undefined]);
    parts.push(logits[0]!);
  }
  return Float32Array.from(parts.flatMap((part) => [...part]));
}

/** Where a graph's numbers are coarser than float32's, or other machines' quantised products. */
function toleranceOf(variant: string): number {
  if (variant.includes("int4")) return 2e-2;
  return variant.includes("f16") ? 5e-3 : 5e-5;
}

const rings = "qwen2-fp32-windows";
const genai = join(packageRoot(), "test/golden/genai");
/** Of architectures that nothing else here knows. */
const foreign = join(packageRoot(), "test/golden/as-is");
const folders = [
  ...readdirSync(foreign).map((name) => join(foreign, name)),
  ...variants.map((variant) => join(exportsFolder, variant)),
  // Its caches are rings of a window's length, see below.
  ...readdirSync(genai)
    .filter((variant) => variant !== rings)
    .map((variant) => join(genai, variant)),
];

describe("every export runs as it is", () => {
  it.each(folders.map((folder) => [basename(folder), folder]))(
    "%s has torch's logits, in one step, in chunks, and token by token",
    async (variant, folder) => {
      const { prompt, logits } = readGolden(folder);
      const { session, vocabSize } = await open(folder);
      const tolerance = toleranceOf(variant) * rootMeanSquare(logits);
      try {
        expect(logits.length).toBe(prompt.length * vocabSize);
        const whole = await run(session, prompt, [15, 3, 7, 8, 1, 6], [prompt.length]);
        expect(difference(whole, logits)).toBeLessThan(tolerance);
        // Its graph chooses rope's frequencies anew in every run, by the text's length: keys would be of two kinds.
        if (variant.includes("longrope")) return;
        const chunks = await run(session, prompt, [0, 9, 2, 4, 5, 10], [3, 11, 12, prompt.length]);
        expect(difference(chunks, whole)).toBeLessThan(tolerance);
        const single = await run(
          session,
          prompt,
          [11, 12, 13, 14, 3, 1],
          [...prompt.keys()].map((i) => i + 1),
        );
        expect(difference(single, whole)).toBeLessThan(tolerance);
      } finally {
        session.close();
      }
    },
  );

  it("but for one whose caches are rings of a window's length, which says so at its node", async () => {
    await expect(open(join(genai, rings))).rejects.toThrow(
      /cannot be served as it is: .*'\/model\/layers\.1\/attn\/GroupQueryAttention' .*at least local_window_size \(24\)/,
    );
  });
});
