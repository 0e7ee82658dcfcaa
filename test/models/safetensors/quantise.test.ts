import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { packMatrix } from "../../../models/builder/pack.ts";
import { type BlockMatrix, type DenseMatrix, floatsOf, zeroOf } from "../../../models/builder/weights.ts";
import { loadModel } from "../../../models/load.ts";
import { openCheckpoint } from "../../../models/safetensors/checkpoint.ts";
import { quantisations, quantise } from "../../../models/safetensors/quantise.ts";
import { checkpointWeights } from "../../../models/safetensors/weights.ts";
import type { PreparedModel } from "../../../models/types.ts";
import { idsOf, variantNamed, writeCheckpoint } from "../../support/checkpoints.ts";
import { maxDifference } from "../../support/golden.ts";
import { safetensorsBytes } from "../../support/safetensors-file.ts";
import { openFor, SequenceRunner } from "../../support/sequence-runner.ts";
import { removeTemporaryFolders, temporaryFolder } from "../exports.ts";

removeTemporaryFolders();

function dequantised({ rows, columns, bits, blockSize, quants, scales, ...more }: BlockMatrix): Float32Array {
  const zero = zeroOf({ bits, ...more });
  return Float32Array.from({ length: rows * columns }, (_, at) => {
    const q = bits === 8 ? quants[at]! : (quants[at >> 1]! >> (4 * (at % 2))) & 15;
    return scales[Math.floor(at / blockSize)]! * (q - zero);
  });
}

function dense(rows: number, columns: number, values: Float32Array): DenseMatrix {
  return { kind: "dense", rows, columns, dtype: "f32", read: () => new Uint8Array(values.buffer) };
}

const blocks = fc.integer({ min: 1, max: 4 }).chain((count) =>
  fc.record({
    values: fc.float32Array({ minLength: 32 * count, maxLength: 32 * count, min: -2, max: 2, noNaN: true }),
    exponent: fc.integer({ min: -20, max: 12 }),
  }),
);

describe("quantising", () => {
  it.each([
    // Half a step; the scale's own rounding to f16 moves the largest value by up to 127 / 2^11 of a step more.
    ["int8", 127, 0.57],
    // The farthest that any of the scales tried leaves a value: 8 / 6.9 of the range is there, so 7 + 0.5 reaches all but 0.5.
    ["int4", 8, 1.01],
  ] as const)("%s keeps every value to within a step", (kind, steps, most) => {
    fc.assert(
      fc.property(blocks, ({ values, exponent }) => {
        const scaled = values.map((value) => value * 2 ** exponent);
        const matrix = quantise(dense(1, scaled.length, scaled), kind, "w") as BlockMatrix;
        const result = dequantised(matrix);
        for (let at = 0; at < scaled.length; at += 32) {
          const block = scaled.subarray(at, at + 32);
          const step = block.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0) / steps;
          // A scale that f16 holds as a subnormal is off by up to 2^-25.
          const allowed = most * step + steps * 2 ** -25;
          expect(maxDifference(result.slice(at, at + 32), block)).toBeLessThanOrEqual(allowed);
        }
        // Scales are f16's, so they take two bytes each.
        expect(packMatrix(matrix).attributes.half_scales).toBe(1);
      }),
      { numRuns: 200 },
    );
  });

  it("int4 leaves no more error than the scale by the largest value does", () => {
    fc.assert(
      fc.property(blocks, ({ values }) => {
        const matrix = quantise(dense(1, values.length, values), "int4", "w") as BlockMatrix;
        const squares = (a: Float32Array) => a.reduce((sum, value, i) => sum + (value - values[i]!) ** 2, 0);
        const simple = new Float32Array(values.length);
        for (let at = 0; at < values.length; at += 32) {
          const extreme = values.subarray(at, at + 32).reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a), 0);
          const scale = extreme / -8;
          for (let i = at; i < at + 32 && scale !== 0; i++) {
            simple[i] = scale * Math.max(-8, Math.min(7, Math.round(values[i]! / scale)));
          }
        }
        expect(squares(dequantised(matrix))).toBeLessThanOrEqual(squares(simple) * 1.01 + 1e-6);
      }),
      { numRuns: 200 },
    );
  });

  it("leaves rows that are no whole blocks as they are", () => {
    const matrix = dense(2, 48, new Float32Array(96));
    expect(quantise(matrix, "int4", "w")).toBe(matrix);
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY])("refuses %d by the tensor's name", (value) => {
    const values = new Float32Array(64);
    values[40] = value;
    for (const kind of quantisations) {
      expect(() => quantise(dense(1, 64, values), kind, "model.w")).toThrow(
        `tensor "model.w" has ${value} at element 40`,
      );
    }
  });
});

async function logitsOf(model: PreparedModel, ids: readonly number[]): Promise<Float32Array> {
  const session = await openFor(model, ids.length);
  try {
    return await new SequenceRunner(session).run(ids);
  } finally {
    session.close();
  }
}

describe("a checkpoint quantised at load", () => {
  const variant = variantNamed("qwen2");
  const ids = idsOf(variant);

  /** The checkpoint with the weights that are left after quantising, as floats. */
  function rounded(folder: string, kind: (typeof quantisations)[number]): string {
    const checkpoint = openCheckpoint(folder);
    const weights = checkpointWeights(checkpoint);
    const tensors = [...checkpoint.tensors.values()].map(({ name, shape }) => {
      if (shape.length === 1) return { name, values: weights.vector(name, shape[0]!), shape };
      const matrix = weights.matrix(name, shape[0]!, shape[1]!);
      const result = quantise(matrix, name.includes("embed") ? "int8" : kind, name);
      return {
        name,
        values: result.kind === "blocks" ? dequantised(result) : floatsOf(result.dtype, result.read()),
        shape,
      };
    });
    checkpoint.close();
    const copy = writeCheckpoint(temporaryFolder(), variant);
    const written = tensors.map(({ name, values, shape }) => {
      return { name, shape, dtype: "F32", bytes: new Uint8Array(values.buffer) };
    });
    writeFileSync(join(copy, "model.safetensors"), safetensorsBytes(written));
    return copy;
  }

  it.each(quantisations)("to %s has the logits of its rounded weights, and is kept", async (quantize) => {
    const folder = writeCheckpoint(temporaryFolder(), variant);
    const seen = new Set<string>();
    const model = await loadModel(folder, { quantize, onProgress: (_done, _total, what) => seen.add(what) });
    expect([...seen]).toEqual([`quantising to ${quantize}`]);
    expect(model.report.weights).toBe(`BF16 as ${quantize} by qlinear; activations int8x2`);
    const actual = await logitsOf(model, ids);
    const expected = await logitsOf(await loadModel(rounded(folder, quantize)), ids);
    const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    // Activations of 15 bits.
    expect(maxDifference(actual, expected)).toBeLessThan(5e-4 * largest);
    const plain = await loadModel(folder);
    expect(plain.cached).toBe(false);
    expect(maxDifference(await logitsOf(plain, ids), expected)).toBeGreaterThan(5e-3 * largest);
    expect(await loadModel(folder, { quantize })).toMatchObject({ cached: true, graphPath: model.graphPath });
    expect(readFileSync(model.graphPath).length).toBeLessThan(32_000);
  });

  it("is the only thing that can be", async () => {
    await expect(loadModel("tiny-llama", { quantize: "int4" })).rejects.toMatchObject({
      code: "unsupported_config",
      message: expect.stringContaining("model.onnx cannot be quantised to int4: only checkpoints in safetensors can"),
    });
  });
});
