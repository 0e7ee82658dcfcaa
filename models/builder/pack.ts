/**
 * Block-quantised matrices as the native operators read them, in place, from the mapped weights file. The layout is
 * described in attention/native/qlinear.h: tiles of 16 outputs, each its blocks' scales (and offsets), then its quants.
 */
import { exactHalf } from "../onnx/tensor.ts";
import type { BlockMatrix } from "./weights.ts";

/** Outputs of a tile. */
const LANES = 16;
/** A tile's quants begin at a multiple of this. */
const ALIGNMENT = 64;

export interface PackedMatrix {
  readonly bytes: Uint8Array;
  /** What sparq.QLinear and sparq.QEmbedding need to know of it. */
  readonly attributes: {
    /** Inputs. */
    readonly K: number;
    /** Outputs. */
    readonly N: number;
    readonly bits: number;
    readonly block_size: number;
    /** 1: scales and offsets are f16, which holds all of them exactly; 0: f32. */
    readonly half_scales: 0 | 1;
    readonly offsets: 0 | 1;
  };
}

/** Packs a matrix without loss. Throws TypeError for block sizes that the layout does not have. */
export function packMatrix(matrix: BlockMatrix): PackedMatrix {
  const { rows, columns, bits, blockSize, scales, offsets } = matrix;
  if ((blockSize !== 16 && blockSize !== 32) || columns % blockSize !== 0) {
    throw new TypeError(`rows of ${columns} columns in blocks of ${blockSize} cannot be packed`);
  }
  const blocks = columns / blockSize;
  const constants = offsets ? [scales, offsets] : [scales];
  const halves = constants.every((values) => values.every((value) => exactHalf(value) !== undefined));
  const constantBytes = LANES * (halves ? 2 : 4);
  const blockConstantBytes = constantBytes * constants.length;
  const quantsAt = Math.ceil((blocks * blockConstantBytes) / ALIGNMENT) * ALIGNMENT;
  const blockQuantBytes = (LANES * blockSize * bits) / 8;
  const tileBytes = quantsAt + blocks * blockQuantBytes;
  const bytes = new Uint8Array(Math.ceil(rows / LANES) * tileBytes);
  const view = new DataView(bytes.buffer);

  for (let row = 0; row < rows; row++) {
    const tile = Math.floor(row / LANES) * tileBytes;
    const lane = row % LANES;
    for (let block = 0; block < blocks; block++) {
      for (const [which, values] of constants.entries()) {
        const at = tile + block * blockConstantBytes + which * constantBytes;
        const value = values[row * blocks + block]!;
        if (halves) view.setUint16(at + 2 * lane, exactHalf(value)!, true);
        else view.setFloat32(at + 4 * lane, value, true);
      }
      const from = ((row * blocks + block) * blockSize * bits) / 8;
      const to = tile + quantsAt + block * blockQuantBytes + 4 * lane;
      if (bits === 8) packBytes(matrix.quants, from, bytes, to, blockSize / 4);
      else packNibbles(matrix.quants, from, bytes, to, blockSize / 4);
    }
  }
  return {
    bytes,
    attributes: {
      K: columns,
      N: rows,
      bits,
      block_size: blockSize,
      half_scales: halves ? 1 : 0,
      offsets: offsets ? 1 : 0,
    },
  };
}

/** Group j of four inputs goes to the lane's place in group j of the tile. */
function packBytes(quants: Uint8Array, from: number, bytes: Uint8Array, to: number, groups: number): void {
  for (let j = 0; j < groups; j++) {
    for (let i = 0; i < 4; i++) bytes[to + 4 * LANES * j + i] = quants[from + 4 * j + i]!;
  }
}

/** Of two groups half a block apart, the first takes the low halves of four bytes, the second the high halves. */
function packNibbles(quants: Uint8Array, from: number, bytes: Uint8Array, to: number, groups: number): void {
  for (let j = 0; j < groups / 2; j++) {
    for (let pair = 0; pair < 2; pair++) {
      const low = quants[from + 2 * j + pair]!;
      const high = quants[from + 2 * j + groups + pair]!;
      const at = to + 4 * LANES * j + 2 * pair;
      bytes[at] = (low & 15) | ((high & 15) << 4);
      bytes[at + 1] = (low >> 4) | (high & 0xf0);
    }
  }
}
