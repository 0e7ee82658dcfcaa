import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type PackedMatrix, packMatrix } from "../../../models/builder/pack.ts";
import { type BlockMatrix, zeroOf } from "../../../models/builder/weights.ts";
import { type BlockTypeName, blockMatrix } from "../../../models/gguf/quantised.ts";
import { supportedTypes } from "../../../models/gguf/types.ts";
import { exactHalf, halfToFloat } from "../../../models/half.ts";
import { randomBlocks, seeded } from "../../support/gguf-llama.ts";

/** Element [row, column] of a matrix as it is before packing. */
function element(matrix: BlockMatrix, row: number, column: number): number {
  const { columns, bits, blockSize, quants, scales, offsets } = matrix;
  const at = row * columns + column;
  const q = bits === 8 ? quants[at]! : (quants[at >> 1]! >> (4 * (at % 2))) & 15;
  const block = Math.floor(at / blockSize);
  return scales[block]! * (q - zeroOf(matrix)) + (offsets?.[block] ?? 0);
}

/** The same read from the packed bytes, by the layout's description in attention/native/qlinear.h. */
function packedElement({ bytes, attributes }: PackedMatrix, row: number, column: number): number {
  const { K, bits, block_size: blockSize, half_scales: halves, offsets } = attributes;
  const view = new DataView(bytes.buffer);
  const blocks = K / blockSize;
  const constants = 16 * (halves ? 2 : 4);
  const constantBytes = Math.ceil((blocks * constants * (1 + offsets)) / 64) * 64;
  const tile = Math.floor(row / 16) * (constantBytes + blocks * 2 * blockSize * bits);
  const lane = row % 16;
  const block = Math.floor(column / blockSize);
  const constant = (which: number) => {
    const at = tile + (block * (1 + offsets) + which) * constants;
    return halves ? halfToFloat(view.getUint16(at + 2 * lane, true)) : view.getFloat32(at + 4 * lane, true);
  };
  const group = Math.floor((column % blockSize) / 4);
  const half = blockSize / 8;
  const stored = bits === 4 ? group % half : group;
  const byte = view.getUint8(
    tile + constantBytes + block * 2 * blockSize * bits + 64 * stored + 4 * lane + (column % 4),
  );
  const q = bits === 8 ? byte : group < half ? byte & 15 : byte >> 4;
  return constant(0) * (q - (offsets ? 0 : 2 ** (bits - 1))) + (offsets ? constant(1) : 0);
}

function expectSame(matrix: BlockMatrix): PackedMatrix {
  const packed = packMatrix(matrix);
  for (let row = 0; row < matrix.rows; row++) {
    for (let column = 0; column < matrix.columns; column++) {
      const [actual, expected] = [packedElement(packed, row, column), element(matrix, row, column)];
      if (actual !== expected) expect(actual, `[${row}, ${column}]`).toBe(expected);
    }
  }
  return packed;
}

const blockTypes = supportedTypes.filter((type): type is BlockTypeName => type.startsWith("Q"));

describe("packed matrices", () => {
  it.each(blockTypes)("hold every weight of %s", (type) => {
    const matrix = blockMatrix(type, randomBlocks(type, 21 * 512, seeded(5)), 21, 512);
    const { attributes } = expectSame(matrix);
    // Types whose file has an f16 for each scale keep it; the others' scales are products.
    expect(attributes.half_scales, type).toBe(/_K$/.test(type) ? 0 : 1);
    expect(attributes).toMatchObject({ K: 512, N: 21, block_size: /^Q[236]_K$/.test(type) ? 16 : 32 });
  });

  it("hold every weight of any shape", () => {
    const matrices = fc.record({
      rows: fc.integer({ min: 1, max: 40 }),
      blocks: fc.integer({ min: 1, max: 5 }),
      bits: fc.constantFrom(4 as const, 8 as const),
      blockSize: fc.constantFrom(16, 32),
      hasOffsets: fc.boolean(),
      seed: fc.integer(),
    });
    fc.assert(
      fc.property(matrices, ({ rows, blocks, bits, blockSize, hasOffsets, seed }) => {
        const random = seeded(seed);
        const constants = () => Float32Array.from({ length: rows * blocks }, () => random() - 0.5);
        const columns = blocks * blockSize;
        const quants = Uint8Array.from({ length: (rows * columns * bits) / 8 }, () => random() * 256);
        const offsets = hasOffsets ? { offsets: constants() } : {};
        expectSame({ kind: "blocks", rows, columns, bits, blockSize, quants, scales: constants(), ...offsets });
      }),
      { numRuns: 60 },
    );
  });

  it("take no more than the file's own blocks but for the last tile", () => {
    // Q4_1: 4 bits, and two f16 for 32 weights; Q8_0: 8 bits, and one.
    expect(packMatrix(blockMatrix("Q4_1", randomBlocks("Q4_1", 32 * 576, seeded(1)), 32, 576)).bytes).toHaveLength(
      (32 * 576 * 5) / 8,
    );
    expect(packMatrix(blockMatrix("Q8_0", randomBlocks("Q8_0", 32 * 576, seeded(1)), 32, 576)).bytes).toHaveLength(
      (32 * 576 * 8.5) / 8,
    );
  });

  it("refuse other block sizes", () => {
    const matrix: BlockMatrix = {
      kind: "blocks",
      rows: 1,
      columns: 64,
      bits: 4,
      blockSize: 64,
      quants: new Uint8Array(32),
      scales: Float32Array.of(1),
    };
    expect(() => packMatrix(matrix)).toThrow("rows of 64 columns in blocks of 64 cannot be packed");
  });
});

describe("exactHalf", () => {
  it("gives back the bits of every half but infinities and NaN", () => {
    for (let bits = 0; bits < 0x10000; bits++) {
      const finite = ((bits >> 10) & 31) !== 31;
      const result = exactHalf(halfToFloat(bits));
      if (result !== (finite ? bits : undefined)) expect(result, String(bits)).toBe(finite ? bits : undefined);
    }
  });

  it.each([1 + 2 ** -11, 65536, 2 ** -25, 1e-30, 0.1, Number.NaN])("has none for %d", (value) => {
    expect(exactHalf(value)).toBeUndefined();
    expect(exactHalf(-value)).toBeUndefined();
  });
});
