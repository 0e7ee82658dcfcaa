import { describe, expect, it } from "vitest";
import { stackRows, zeroOf } from "../../../models/builder/weights.ts";
import { dequantize } from "../../../models/gguf/blocks.ts";
import { type BlockTypeName, blockMatrix } from "../../../models/gguf/quantised.ts";
import { supportedTypes, type TensorTypeName, tensorType } from "../../../models/gguf/types.ts";
import { randomBlocks, seeded } from "../../support/gguf-llama.ts";
import { maxDifference, readGoldenJson } from "../../support/golden.ts";

type Golden = Record<TensorTypeName, { readonly bytes: string; readonly values: string }>;

const golden = readGoldenJson<Golden>("gguf", "blocks.json");
const fromHex = (hex: string) => new Uint8Array(Buffer.from(hex, "hex"));
const blockTypes = supportedTypes.filter((type): type is BlockTypeName => tensorType(type).blockSize > 1);

describe("block decoders", () => {
  it("have a golden for every type but plain floats", () => {
    expect(Object.keys(golden).sort()).toEqual(supportedTypes.filter((type) => type !== "F32").sort());
  });

  it.each(Object.keys(golden) as TensorTypeName[])("decode %s as the gguf package does, bit by bit", (type) => {
    const { bytes, values } = golden[type];
    const decoded = dequantize(type, fromHex(bytes));
    expect(Buffer.from(decoded.buffer).toString("hex")).toBe(values);
  });

  it("take F32 as it is", () => {
    const values = Float32Array.of(1.5, -0, 3e-42, 7e37);
    expect(dequantize("F32", new Uint8Array(values.buffer))).toEqual(values);
  });

  it("refuse half a block", () => {
    expect(() => dequantize("Q4_1", new Uint8Array(30))).toThrow("30 bytes are no whole Q4_1 blocks of 20 bytes");
  });
});

/** What a block matrix stands for, from its definition. */
function valuesOf(matrix: ReturnType<typeof blockMatrix>): Float32Array {
  const { rows, columns, bits, blockSize, quants, scales, offsets } = matrix;
  return Float32Array.from({ length: rows * columns }, (_, i) => {
    const q = bits === 8 ? quants[i]! : (quants[i >> 1]! >> (4 * (i % 2))) & 15;
    const block = Math.floor(i / blockSize);
    return Math.fround(scales[block]! * (q - zeroOf(matrix))) + (offsets?.[block] ?? 0);
  });
}

describe("block matrices", () => {
  it.each(blockTypes)("hold the weights of %s exactly", (type) => {
    const bytes = randomBlocks(type, 6 * 512, seeded(3));
    const matrix = blockMatrix(type, bytes, 6, 512);
    expect(maxDifference(valuesOf(matrix), dequantize(type, bytes))).toBe(0);
    expect(matrix.quants).toHaveLength((6 * 512 * matrix.bits) / 8);
    expect(matrix.scales).toHaveLength((6 * 512) / matrix.blockSize);
  });

  it("stack when they are stored alike, and only then", () => {
    const make = (type: BlockTypeName, rows: number, seed: number) =>
      blockMatrix(type, randomBlocks(type, rows * 256, seeded(seed)), rows, 256);
    const parts = [make("Q4_1", 3, 1), make("Q4_K", 2, 2)];
    const stacked = stackRows(parts);
    expect(stacked).toMatchObject({ rows: 5, columns: 256, bits: 4 });
    expect(valuesOf(stacked as ReturnType<typeof blockMatrix>)).toEqual(
      Float32Array.from(parts.flatMap((part) => [...valuesOf(part)])),
    );
    expect(stackRows([make("Q4_1", 3, 1), make("Q4_0", 3, 1)])).toBeUndefined();
    expect(stackRows([make("Q8_0", 3, 1), make("Q6_K", 3, 1)])).toBeUndefined();
    expect(stackRows([make("Q5_0", 3, 1), make("Q4_0", 3, 1)])).toBeUndefined();
    const read = () => Uint8Array.of(1, 2, 3, 4);
    const dense = { kind: "dense", rows: 1, columns: 2, dtype: "f16", read } as const;
    const two = stackRows([dense, dense]);
    expect(two).toMatchObject({ kind: "dense", rows: 2, columns: 2, dtype: "f16" });
    expect([...(two as typeof dense).read()]).toEqual([1, 2, 3, 4, 1, 2, 3, 4]);
    const piece = (offset: number) => ({ path: "weights", offset, rows: 1 });
    const [first, second] = [piece(8), piece(0)];
    expect(
      stackRows([
        { ...dense, pieces: [first] },
        { ...dense, pieces: [second] },
      ]),
    ).toMatchObject({
      pieces: [first, second],
    });
    expect(stackRows([{ ...dense, pieces: [first] }, dense])).not.toHaveProperty("pieces");
    expect(stackRows([dense, { ...dense, dtype: "bf16" }])).toBeUndefined();
    expect(stackRows([dense, make("Q8_0", 3, 1)])).toBeUndefined();
  });
});
