import { describe, expect, it } from "vitest";
import { distributionOf, divergence, surprise } from "../../bench/accuracy/divergence.ts";

/** Logits of given probabilities, moved by a constant that must not matter. */
const of = (probabilities: readonly number[], offset = 0) =>
  distributionOf(Float32Array.from(probabilities, (p) => Math.log(p) + offset));

describe("a row of logits", () => {
  it("becomes probabilities, whatever its level", () => {
    const { probabilities, top } = of([0.1, 0.6, 0.3], 90);
    expect([...probabilities].map((p) => p.toFixed(5))).toEqual(["0.10000", "0.60000", "0.30000"]);
    expect(top).toBe(1);
  });

  it("of equal logits has the first on top", () => {
    expect(distributionOf(Float32Array.of(-1, 2, 2)).top).toBe(1);
  });

  it("neither over- nor underflows", () => {
    const { probabilities, normaliser } = distributionOf(Float32Array.of(1000, -1000));
    expect([...probabilities]).toEqual([1, 0]);
    expect(normaliser).toBe(1000);
  });
});

describe("KL divergence", () => {
  it("is the sum of p log(p / q), in nats", () => {
    const expected = 0.5 * Math.log(0.5 / 0.25) + 0.5 * Math.log(0.5 / 0.75);
    expect(divergence(of([0.5, 0.5]), of([0.25, 0.75], 7))).toBeCloseTo(expected, 6);
    expect(divergence(of([0.25, 0.75]), of([0.5, 0.5]))).not.toBeCloseTo(expected, 3);
  });

  it("of a row from itself is exactly 0", () => {
    const row = of([0.2, 0.5, 0.3], 4);
    expect(divergence(row, row)).toBe(0);
  });

  it("sees differences near rounding", () => {
    const logits = Float32Array.from({ length: 1000 }, (_, i) => Math.sin(i));
    const moved = logits.map((x, i) => x + (i % 2 ? 1e-4 : -1e-4));
    // Half the variance of the difference, (1e-4)^2 / 2, to second order.
    expect(divergence(distributionOf(logits), distributionOf(moved))).toBeGreaterThan(4e-9);
    expect(divergence(distributionOf(logits), distributionOf(moved))).toBeLessThan(6e-9);
  });
});

it("a token's surprise is -log(p)", () => {
  expect(surprise(of([0.1, 0.6, 0.3], -5), 2)).toBeCloseTo(-Math.log(0.3), 6);
});
