/**
 * GGUF's block formats as the integers, scales and offsets of a BlockMatrix, without going through floats. What a block
 * means is in blocks.ts; here its values are only moved, so the weights stay exactly what they are.
 */
import type { BlockMatrix } from "../builder/weights.ts";
import {
  bitPair,
  half,
  nibble,
  nibbleOfK,
  nonlinearLevels,
  quarterScales,
  sixBits,
  subBlockScales,
  threeBitScale,
  threeBits,
} from "./blocks.ts";
import { type TensorTypeName, tensorType } from "./types.ts";

export type BlockTypeName = Exclude<TensorTypeName, "F32" | "F16" | "BF16">;

/** Where one GGUF block goes. */
interface Target {
  /** Bytes of the matrix' quants from index `quantsAt`; scales and offsets from `blockAt`. */
  readonly quants: Uint8Array;
  readonly scales: Float32Array;
  readonly offsets: Float32Array;
}

interface Format {
  readonly bits: 4 | 8;
  /** Columns that share a scale. */
  readonly blockSize: number;
  readonly hasOffsets: boolean;
  readonly move: (view: DataView, at: number, to: Target, quantsAt: number, blockAt: number) => void;
}

/** A matrix in one of the block formats. `bytes` holds rows * columns elements, row by row. */
export function blockMatrix(type: BlockTypeName, bytes: Uint8Array, rows: number, columns: number): BlockMatrix {
  const source = tensorType(type);
  const { bits, blockSize, hasOffsets, move } = formats[type];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const blocks = (rows * columns) / source.blockSize;
  const quantBytes = (source.blockSize * bits) / 8;
  const perBlock = source.blockSize / blockSize;
  const target = {
    quants: new Uint8Array(blocks * quantBytes),
    scales: new Float32Array(blocks * perBlock),
    offsets: new Float32Array(hasOffsets ? blocks * perBlock : 0),
  };
  for (let block = 0; block < blocks; block++) {
    move(view, block * source.blockBytes, target, block * quantBytes, block * perBlock);
  }
  const { quants, scales, offsets } = target;
  return { kind: "blocks", rows, columns, bits, blockSize, quants, scales, ...(hasOffsets ? { offsets } : {}) };
}

/** The zero points that BlockMatrixes without offsets imply. */
const zero4 = 8;
const zero8 = 128;

const formats: Readonly<Record<BlockTypeName, Format>> = {
  Q4_0: format(4, 32, false, (view, at, to, quantsAt, block) => {
    to.scales[block] = half(view, at);
    pairNibbles(view, at + 2, to.quants, quantsAt);
  }),
  Q4_1: format(4, 32, true, (view, at, to, quantsAt, block) => {
    to.scales[block] = half(view, at);
    to.offsets[block] = half(view, at + 2);
    pairNibbles(view, at + 4, to.quants, quantsAt);
  }),
  Q5_0: format(8, 32, false, (view, at, to, quantsAt, block) => {
    to.scales[block] = half(view, at);
    fiveBits(view, at + 2, to.quants, quantsAt, zero8 - 16);
  }),
  Q5_1: format(8, 32, true, (view, at, to, quantsAt, block) => {
    to.scales[block] = half(view, at);
    to.offsets[block] = half(view, at + 2);
    fiveBits(view, at + 4, to.quants, quantsAt, 0);
  }),
  Q8_0: format(8, 32, false, (view, at, to, quantsAt, block) => {
    to.scales[block] = half(view, at);
    for (let i = 0; i < 32; i++) to.quants[quantsAt + i] = view.getInt8(at + 2 + i) + zero8;
  }),
  // Two and three bits take four: the kernels have no narrower ones.
  Q2_K: format(4, 16, true, (view, at, to, quantsAt, block) => {
    for (let sub = 0; sub < 16; sub++) {
      const { scale, min } = quarterScales(view, at, sub);
      to.scales[block + sub] = scale;
      to.offsets[block + sub] = -min;
    }
    for (let i = 0; i < 128; i++) {
      to.quants[quantsAt + i] = bitPair(view, at + 16, 2 * i) | (bitPair(view, at + 16, 2 * i + 1) << 4);
    }
  }),
  Q3_K: format(4, 16, false, (view, at, to, quantsAt, block) => {
    for (let sub = 0; sub < 16; sub++) to.scales[block + sub] = threeBitScale(view, at, sub);
    const q = (i: number) => threeBits(view, at, i) - 4 + zero4;
    for (let i = 0; i < 128; i++) to.quants[quantsAt + i] = q(2 * i) | (q(2 * i + 1) << 4);
  }),
  Q4_K: format(4, 32, true, (view, at, to, quantsAt, block) => {
    for (let sub = 0; sub < 8; sub++) {
      const { scale, min } = subBlockScales(view, at, sub);
      to.scales[block + sub] = scale;
      to.offsets[block + sub] = -min;
      for (let i = 0; i < 16; i++) {
        const low = nibbleOfK(view, at + 16, sub, 2 * i);
        to.quants[quantsAt + 16 * sub + i] = low | (nibbleOfK(view, at + 16, sub, 2 * i + 1) << 4);
      }
    }
  }),
  Q5_K: format(8, 32, true, (view, at, to, quantsAt, block) => {
    for (let sub = 0; sub < 8; sub++) {
      const { scale, min } = subBlockScales(view, at, sub);
      to.scales[block + sub] = scale;
      to.offsets[block + sub] = -min;
      for (let i = 0; i < 32; i++) {
        const fifth = (view.getUint8(at + 16 + i) >> sub) & 1;
        to.quants[quantsAt + 32 * sub + i] = nibbleOfK(view, at + 48, sub, i) | (fifth << 4);
      }
    }
  }),
  Q6_K: format(8, 16, false, (view, at, to, quantsAt, block) => {
    const d = half(view, at + 208);
    for (let sub = 0; sub < 16; sub++) to.scales[block + sub] = d * view.getInt8(at + 192 + sub);
    for (let i = 0; i < 256; i++) to.quants[quantsAt + i] = sixBits(view, at, i) - 32 + zero8;
  }),
  // Its levels are no multiples of a step of four bits, but each is an int8.
  IQ4_NL: format(8, 32, false, (view, at, to, quantsAt, block) => {
    to.scales[block] = half(view, at);
    for (let i = 0; i < 32; i++) to.quants[quantsAt + i] = nonlinearLevels[nibble(view, at + 2, i)]! + zero8;
  }),
};

function format(bits: 4 | 8, blockSize: number, hasOffsets: boolean, move: Format["move"]): Format {
  return { bits, blockSize, hasOffsets, move };
}

/** ggml puts elements i and i + 16 into byte i; here elements 2i and 2i + 1 go there. */
function pairNibbles(view: DataView, at: number, quants: Uint8Array, quantsAt: number): void {
  for (let i = 0; i < 8; i++) {
    const first = view.getUint8(at + 2 * i);
    const second = view.getUint8(at + 2 * i + 1);
    quants[quantsAt + i] = (first & 15) | ((second & 15) << 4);
    quants[quantsAt + 8 + i] = (first >> 4) | (second & 0xf0);
  }
}

/** Fifth bits (u32), then nibbles; as 8-bit values from `least` on. */
function fiveBits(view: DataView, at: number, quants: Uint8Array, quantsAt: number, least: number): void {
  const high = view.getUint32(at, true);
  for (let i = 0; i < 32; i++) {
    const byte = view.getUint8(at + 4 + (i % 16));
    const q = (i < 16 ? byte & 15 : byte >> 4) | (((high >>> i) & 1) << 4);
    quants[quantsAt + i] = q + least;
  }
}
