import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openDecoder } from "../../../attention/onnx/session.ts";
import type { StepSession } from "../../../attention/session.ts";
import { exportsFolder, readConfig, readGolden, variants } from "../../models/exports.ts";
import { dense } from "../../support/dense.ts";

const BLOCK = 8;

/** A session over a model of test/golden/exports, in blocks so small that prompts have several. */
async function open(folder: string, blocks = 16): Promise<StepSession> {
  const shape = { ...readConfig(folder), certain: true };
  const decoder = await openDecoder(join(folder, "model.onnx"), shape, { threads: 1 });
  return decoder.begin({ blocks, blockSize: BLOCK });
}

function difference(a: Float32Array, b: Float32Array): number {
  expect(a.length).toBe(b.length);
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0);
}

describe("every export runs as it is", () => {
  it.each(variants)("%s has torch's logits, in one step, in chunks, and token by token", async (variant) => {
    const folder = join(exportsFolder, variant);
    const { prompt, logits } = readGolden(folder);
    const session = await open(folder);
    const tables = [
      [15, 3, 7],
      [0, 9, 1],
      [2, 14, 4],
    ];
    try {
      const { vocabSize } = readConfig(folder);
      const run = async (blockTable: readonly number[], ends: readonly number[]) => {
        const given = new Float32Array(logits.length);
        for (const [i, end] of ends.entries()) {
          const begin = ends[i - 1] ?? 0;
          const step = { ...dense, tokenIds: prompt.slice(begin, end), contextLength: begin, blockTable };
          const { logits: rows, errors } = await session.step([{ ...step, logits: "all" }]);
          expect(errors).toEqual([undefined]);
          given.set(rows[0]!, begin * vocabSize);
        }
        return given;
      };
      const whole = await run(tables[0]!, [prompt.length]);
      // float16 weights are converted by ONNX Runtime.
      expect(difference(whole, logits)).toBeLessThan(variant.includes("f16") ? 2e-3 : 2e-5);
      expect(difference(await run(tables[1]!, [3, 11, 12, prompt.length]), whole)).toBeLessThan(1e-5);
      expect(
        difference(
          await run(
            tables[2]!,
            [...prompt.keys()].map((i) => i + 1),
          ),
          whole,
        ),
      ).toBeLessThan(1e-5);
    } finally {
      session.close();
    }
  });
});
