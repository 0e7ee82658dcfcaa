import { describe, expect, it } from "vitest";
import { makeModel } from "../../../models/onnx/build.ts";
import { Graph } from "../../../models/onnx/graph.ts";
import { floatTensor, makeNode } from "../../../models/onnx/proto.ts";
import { cachedRope } from "../../../models/onnx/rope-cache.ts";
import { type RopeScaling, ropeFrequencies } from "../../../models/rope.ts";

/** A graph with one operator that reads tables of so many positions. */
function graphOf(positions: number, inverseFrequencies: Float32Array, scale = 1, rounded = Math.fround): Graph {
  const components = inverseFrequencies.length;
  const table = (name: string, of: (angle: number) => number) =>
    floatTensor(
      name,
      [positions, components],
      Float32Array.from({ length: positions * components }, (_, i) => {
        const angle = Math.fround(Math.floor(i / components) * inverseFrequencies[i % components]!);
        return rounded(scale * of(angle));
      }),
    );
  return new Graph(
    makeModel({
      name: "tables",
      nodes: [
        makeNode(
          "RotaryEmbedding",
          ["x", "positions", "cos", "sin"],
          ["y"],
          {},
          { domain: "com.microsoft", name: "rope" },
        ),
      ],
      initializers: [table("cos", Math.cos), table("sin", Math.sin)],
      inputs: [],
      outputs: [],
      opsets: { "": 17 },
    }),
  );
}

const llama3: RopeScaling = {
  type: "llama3",
  factor: 32,
  lowFreqFactor: 1,
  highFreqFactor: 4,
  originalMaxPositions: 8192,
};

describe("rope behind tables of cosines and sines", () => {
  it.each([
    ["2 positions", 2, ropeFrequencies(10_000, 16, { type: "default" })],
    ["theta 10000", 4096, ropeFrequencies(10_000, 32, { type: "default" })],
    ["theta 1000000", 32_768, ropeFrequencies(1_000_000, 16, { type: "default" })],
    ["llama3's scaling", 131_072, ropeFrequencies(500_000, 8, llama3)],
    ["a linear scaling", 1000, ropeFrequencies(10_000, 24, { type: "linear", factor: 7 })],
  ])("has the frequencies of %s to the last bit", (_, positions, { inverseFrequencies }) => {
    const rope = cachedRope(graphOf(positions, inverseFrequencies));
    expect(rope).toMatchObject({ rotaryDim: 2 * inverseFrequencies.length, ropeScale: 1, positions });
    // Two positions know a frequency as well as a float32 cosine does.
    const known = positions > 2 ? inverseFrequencies : rope.inverseFrequencies;
    expect(rope.inverseFrequencies).toEqual(known);
    for (const [i, value] of rope.inverseFrequencies.entries()) {
      expect(Math.abs(value / inverseFrequencies[i]! - 1)).toBeLessThan(1e-6);
    }
  });

  it("has the scale that YaRN and LongRoPE put on both", () => {
    const { inverseFrequencies } = ropeFrequencies(10_000, 16, { type: "default" });
    const rope = cachedRope(graphOf(512, inverseFrequencies, 1.1902380714238083));
    expect(rope.ropeScale).toBe(Math.fround(1.1902380714238083));
    expect(rope.inverseFrequencies).toEqual(inverseFrequencies);
  });

  it("is close where the tables were float16 once", () => {
    const { inverseFrequencies } = ropeFrequencies(10_000, 16, { type: "default" });
    const half = (value: number) => Math.round(value * 2 ** 11) / 2 ** 11;
    const rope = cachedRope(graphOf(4096, inverseFrequencies, 1, half));
    for (const [i, value] of rope.inverseFrequencies.entries()) {
      expect(Math.abs(value - inverseFrequencies[i]!)).toBeLessThan(2e-7);
    }
  });

  it("refuses tables of other shapes, by the operator", () => {
    const graph = graphOf(8, Float32Array.of(1, 0.5));
    graph.initializers.get("sin")!.dims = [4, 4];
    expect(() => cachedRope(graph)).toThrow('node "rope" (com.microsoft.RotaryEmbedding) are [8,2] and [4,4]');
  });
});
