import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../attention/root.ts";
import { parseConfig } from "../../models/config.ts";
import { ropeFrequencies } from "../../models/rope.ts";

interface RopeCase {
  readonly config: Record<string, unknown>;
  readonly inverse_frequencies: readonly number[];
  readonly attention_factor: number;
}

/** Made by test/oracle/rope.py with transformers. */
const golden = JSON.parse(readFileSync(join(packageRoot(), "test/golden/rope.json"), "utf8"));
const cases = Object.entries<RopeCase>(golden.cases);

/** Fields that do not matter here but that a configuration must have. */
const sizes = { num_hidden_layers: 1, intermediate_size: 8, vocab_size: 8 };

describe("rope frequencies", () => {
  it.each(cases)("equal transformers' for %s", (_, entry) => {
    // transformers begins with the frequencies of a short sequence.
    const maxContext = Math.min(4096, Number(entry.config.max_position_embeddings));
    const config = parseConfig({ ...sizes, ...entry.config }, undefined, "config.json", { maxContext });
    expect(config.rotaryDim).toBe(2 * entry.inverse_frequencies.length);
    expect(config.ropeScale).toBeCloseTo(entry.attention_factor, 12);
    for (const [i, expected] of entry.inverse_frequencies.entries()) {
      // Two units in the last place: torch's float32 powers are not correctly rounded.
      expect(Math.abs(config.inverseFrequencies[i]! / expected - 1)).toBeLessThan(2.4e-7);
    }
  });

  it("rotate the first pair by one radian a position", () => {
    const { inverseFrequencies, ropeScale } = ropeFrequencies(10_000, 4, { type: "default" });
    expect([...inverseFrequencies]).toEqual([1, Math.fround(0.01)]);
    expect(ropeScale).toBe(1);
  });

  it("take YaRN's own attention factor, or one from mscale", () => {
    const yarn = {
      type: "yarn",
      factor: 8,
      originalMaxPositions: 4096,
      betaFast: 32,
      betaSlow: 1,
      truncate: true,
    } as const;
    expect(ropeFrequencies(10_000, 64, { ...yarn, attentionFactor: 1.5 }).ropeScale).toBe(1.5);
    // DeepSeek's rule: the two magnitudes cancel when they are equal.
    expect(ropeFrequencies(10_000, 64, { ...yarn, mscale: 0.7, mscaleAllDim: 0.7 }).ropeScale).toBe(1);
    expect(ropeFrequencies(10_000, 64, { ...yarn, factor: 1 }).ropeScale).toBe(1);
  });
});
