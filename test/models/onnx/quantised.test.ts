import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../../attention/root.ts";
import { Graph } from "../../../models/onnx/graph.ts";
import { readModel } from "../../../models/onnx/proto.ts";
import { preparedLogits } from "../../../models/onnx/self-check.ts";
import { importFolder, readGolden, removeTemporaryFolders } from "../exports.ts";

removeTemporaryFolders();

const root = join(packageRoot(), "test/golden/quantised");

/**
 * How far the root mean square of the difference from ONNX Runtime's logits on the unmodified file may be, relative to theirs, by
 * what the file rounds its activations to and we do not: nothing, 11 bits, 8 bits in the same blocks (the two differ where a
 * value falls on another level), 8 bits with constant scales, 8 bits with a scale for each run.
 */
const tolerances: readonly (readonly [pattern: RegExp, tolerance: number])[] = [
  [/f16/, 5e-3],
  [/q4-asymmetric-int8/, 3e-2],
  // Of blocks behind DequantizeLinear ONNX Runtime makes MatMulNBits with int8 by itself.
  [/int8-static|q4-qdq/, 5e-2],
  [/int8|uint8/, 0.1],
  [/q4|bnb4/, 1e-3],
];

/** What the linears become. */
const operators: readonly (readonly [pattern: RegExp, opType: string])[] = [
  [/f16-f32-io|-f16$/, "DenseLinear"],
  [/bnb4/, "MatMulBnb4"],
  [/./, "QLinear"],
];

function chosen<Value>(variant: string, table: readonly (readonly [RegExp, Value])[]): Value {
  return table.find(([pattern]) => pattern.test(variant))![1];
}

function distance(actual: Float32Array, expected: Float32Array): number {
  let [differences, squares] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    differences += (actual[i]! - expected[i]!) ** 2;
    squares += expected[i]! ** 2;
  }
  return Math.sqrt(differences / squares);
}

describe.each(readdirSync(root))("the export %s", (variant) => {
  const folder = join(root, variant);

  it("is proven, and has ONNX Runtime's logits", async () => {
    const { report, graphPath, config } = await importFolder(folder);
    expect(report.attentions).toHaveLength(config.layers);
    const { prompt, logits } = readGolden(folder);
    const actual = await preparedLogits(graphPath, prompt, config);
    expect(actual.length).toBe(logits.length);
    const fromPrompt = distance(actual, logits);
    expect(fromPrompt).toBeLessThan(chosen(variant, tolerances));

    const { from_steps: spread } = JSON.parse(readFileSync(join(folder, "golden.json"), "utf8"));
    if (!readdirSync(folder).includes("steps.bin")) return;
    // One scale for a whole prompt and one for each token give other logits, and both are as far from each other as from ours.
    const steps = new Float32Array(new Uint8Array(readFileSync(join(folder, "steps.bin"))).buffer);
    expect(distance(actual, steps)).toBeLessThan(spread);
    expect(fromPrompt).toBeLessThan(1.2 * spread);
  });

  it("keeps its weights as narrow as they are", async () => {
    const { report, graphPath } = await importFolder(folder);
    const graph = new Graph(readModel(graphPath));
    const types = graph.nodes.map(({ opType }) => opType);
    expect(types).toContain(chosen(variant, operators));
    expect(types).not.toContain("MatMul");
    expect(types).not.toContain("MatMulInteger");
    expect(types).not.toContain("MatMulNBits");
    if (chosen(variant, operators) === "DenseLinear") expect(report.weights).toMatch(/^f16/);
  });
});
