/**
 * Block-quantised matrices as the native operators read them, in place, from the mapped weights file. The layout is
 * described in attention/native/qlinear.h: tiles of 16 outputs, each its blocks' scales (and offsets), then its quants.
 */
import { exactHalf } from "../half.ts";
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

/** Where things are in a packed matrix, which its scales and offsets decide. */
interface PackedLayout {
  /** Of the whole matrix. */
  readonly byteLength: number;
  readonly attributes: PackedMatrix["attributes"];
  /** Scales, and offsets if there are any, as f16 if all of them can be. */
  readonly constants: readonly (Float32Array | Uint16Array)[];
  readonly constantBytes: number;
  readonly quantsAt: number;
  readonly tileBytes: number;
}

/** The layout of a matrix, for which its quants need not be read. Throws TypeError for block sizes that there are none for. */
export function packedLayout(matrix: Omit<BlockMatrix, "quants">): PackedLayout {
  const { rows, columns, bits, blockSize, scales, offsets } = matrix;
  if ((blockSize !== 16 && blockSize !== 32) || columns % blockSize !== 0) {
    throw new TypeError(`rows of ${columns} columns in blocks of ${blockSize} cannot be packed`);
  }
  const blocks = columns / blockSize;
  const floats = offsets ? [scales, offsets] : [scales];
  const halves = floats.flatMap((values) => exactHalves(values) ?? []);
  const asHalves = halves.length === floats.length;
  const constantBytes = LANES * (asHalves ? 2 : 4);
  const quantsAt = Math.ceil((blocks * constantBytes * floats.length) / ALIGNMENT) * ALIGNMENT;
  const tileBytes = quantsAt + (LANES * columns * bits) / 8;
  return {
    byteLength: Math.ceil(rows / LANES) * tileBytes,
    attributes: {
      K: columns,
      N: rows,
      bits,
      block_size: blockSize,
      half_scales: asHalves ? 1 : 0,
      offsets: offsets ? 1 : 0,
    },
    constants: asHalves ? halves : floats,
    constantBytes,
    quantsAt,
    tileBytes,
  };
}

/** Packs a matrix without loss. Throws TypeError for block sizes that the layout does not have. */
export function packMatrix(matrix: BlockMatrix): PackedMatrix {
  const { byteLength, attributes, constants, constantBytes, quantsAt, tileBytes } = packedLayout(matrix);
  const { rows, columns, bits, blockSize } = matrix;
  const blocks = columns / blockSize;
  const blockConstantBytes = constantBytes * constants.length;
  const blockQuantBytes = (LANES * blockSize * bits) / 8;
  const bytes = new Uint8Array(byteLength);
  // Everything in a tile is aligned to its size.
  const places = attributes.half_scales ? new Uint16Array(bytes.buffer) : new Float32Array(bytes.buffer);
  const words = new Uint32Array(bytes.buffer);
  // Rows of quants are whole blocks, so what is read at once is aligned if the first is.
  const { quants: stored } = matrix;
  const quants = stored.byteOffset % 4 === 0 ? stored : new Uint8Array(stored);
  const packGroups = bits === 8 ? bytePacker(quants, words) : nibblePacker(quants, words);

  for (let row = 0; row < rows; row++) {
    const tile = Math.floor(row / LANES) * tileBytes;
    const lane = row % LANES;
    for (const [which, values] of constants.entries()) {
      const first = (tile + which * constantBytes) / places.BYTES_PER_ELEMENT + lane;
      const step = blockConstantBytes / places.BYTES_PER_ELEMENT;
      for (let block = 0; block < blocks; block++) places[first + block * step] = values[row * blocks + block]!;
    }
    for (let block = 0; block < blocks; block++) {
      const from = ((row * blocks + block) * blockSize * bits) / 8;
      packGroups(from, tile + quantsAt + block * blockQuantBytes + 4 * lane, blockSize / 4);
    }
  }
  return { bytes, attributes };
}

/** The values as f16; undefined if one of them is none. */
function exactHalves(values: Float32Array): Uint16Array | undefined {
  const halves = new Uint16Array(values.length);
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < values.length; i++) {
    const word = bits[i]!;
    const exponent = ((word >>> 23) & 255) - 112;
    // Most are normal in both, and only lose zeros.
    const plain = exponent > 0 && exponent < 31 && (word & 0x1fff) === 0;
    const half = plain ? ((word >>> 16) & 0x8000) | (exponent << 10) | ((word >>> 13) & 0x3ff) : exactHalf(values[i]!);
    if (half === undefined) return undefined;
    halves[i] = half;
  }
  return halves;
}

/** Packs so many groups of four inputs of one row and block: from a byte of the matrix' quants to a lane of the tile, also in bytes. */
type GroupPacker = (from: number, to: number, groups: number) => void;

/** Group j goes to the lane's place in group j of the tile. */
function bytePacker(quants: Uint8Array, words: Uint32Array): GroupPacker {
  const source = new Uint32Array(quants.buffer, quants.byteOffset, quants.length / 4);
  return (from, to, groups) => {
    for (let j = 0; j < groups; j++) words[to / 4 + LANES * j] = source[from / 4 + j]!;
  };
}

/** Of two groups half a block apart, the first takes the low halves of four bytes, the second the high halves. */
function nibblePacker(quants: Uint8Array, words: Uint32Array): GroupPacker {
  const source = new Uint16Array(quants.buffer, quants.byteOffset, quants.length / 2);
  return (from, to, groups) => {
    const half = groups / 2;
    for (let j = 0; j < half; j++) {
      const low = source[from / 2 + j]!;
      const high = source[from / 2 + half + j]!;
      words[to / 4 + LANES * j] = spread(low) | (spread(high) << 4);
    }
  };
}

/** Four nibbles as the low halves of four bytes. */
function spread(nibbles: number): number {
  return (nibbles & 15) | ((nibbles & 0xf0) << 4) | ((nibbles & 0xf00) << 8) | ((nibbles & 0xf000) << 12);
}
