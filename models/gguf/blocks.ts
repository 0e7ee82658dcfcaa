/**
 * Decoders of GGUF's block formats to float32, after ggml-quants.c. Each is one short loop over blocks: clear rather than
 * fast, and the reference for quantised.ts, which keeps the integers. `d`, `m`, `dmin` are ggml's names for the scales.
 */
import { halfToFloat } from "../half.ts";
import { type TensorTypeName, tensorType } from "./types.ts";

const { fround } = Math;

/** Decodes one block at byte `at` of `view` into `out` from index `to`. */
type BlockDecoder = (view: DataView, at: number, out: Float32Array, to: number) => void;

/** The float32 values of a tensor's bytes, computed in float32 as ggml does. `bytes` holds whole blocks. */
export function dequantize(type: TensorTypeName, bytes: Uint8Array): Float32Array {
  const { blockSize, blockBytes } = tensorType(type);
  if (bytes.byteLength % blockBytes !== 0) {
    throw new RangeError(`${bytes.byteLength} bytes are no whole ${type} blocks of ${blockBytes} bytes`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const blocks = bytes.byteLength / blockBytes;
  const out = new Float32Array(blocks * blockSize);
  const decode = decoders[type];
  for (let block = 0; block < blocks; block++) decode(view, block * blockBytes, out, block * blockSize);
  return out;
}

/** An f16 at byte `at`. */
export function half(view: DataView, at: number): number {
  return halfToFloat(view.getUint16(at, true));
}

/** 4-bit values of 16 bytes: the low nibbles are elements 0..15, the high ones 16..31. */
export function nibble(view: DataView, at: number, i: number): number {
  const byte = view.getUint8(at + (i % 16));
  return i < 16 ? byte & 15 : byte >> 4;
}

const decoders: Readonly<Record<TensorTypeName, BlockDecoder>> = {
  F32(view, at, out, to) {
    out[to] = view.getFloat32(at, true);
  },
  F16(view, at, out, to) {
    out[to] = half(view, at);
  },
  BF16(view, at, out, to) {
    bits[0] = view.getUint16(at, true) << 16;
    out[to] = bitsAsFloat[0]!;
  },
  // d: f16, 16 bytes of nibbles; (q - 8) d
  Q4_0(view, at, out, to) {
    const d = half(view, at);
    for (let i = 0; i < 32; i++) out[to + i] = d * (nibble(view, at + 2, i) - 8);
  },
  // d, m: f16, 16 bytes of nibbles; q d + m
  Q4_1(view, at, out, to) {
    const d = half(view, at);
    const m = half(view, at + 2);
    for (let i = 0; i < 32; i++) out[to + i] = fround(d * nibble(view, at + 4, i)) + m;
  },
  // d: f16, fifth bits: u32, 16 bytes of nibbles; (q - 16) d
  Q5_0(view, at, out, to) {
    const d = half(view, at);
    const high = view.getUint32(at + 2, true);
    for (let i = 0; i < 32; i++) out[to + i] = d * ((nibble(view, at + 6, i) | (((high >>> i) & 1) << 4)) - 16);
  },
  // d, m: f16, fifth bits: u32, 16 bytes of nibbles; q d + m
  Q5_1(view, at, out, to) {
    const d = half(view, at);
    const m = half(view, at + 2);
    const high = view.getUint32(at + 4, true);
    for (let i = 0; i < 32; i++) out[to + i] = fround(d * (nibble(view, at + 8, i) | (((high >>> i) & 1) << 4))) + m;
  },
  // d: f16, 32 int8; q d
  Q8_0(view, at, out, to) {
    const d = half(view, at);
    for (let i = 0; i < 32; i++) out[to + i] = d * view.getInt8(at + 2 + i);
  },
  // 16 bytes of 4-bit (scale, min), 64 bytes of 2-bit values, d, dmin: f16; q (d scale) - dmin min
  Q2_K(view, at, out, to) {
    for (let sub = 0; sub < 16; sub++) {
      const { scale, min } = quarterScales(view, at, sub);
      for (let i = 16 * sub; i < 16 * sub + 16; i++) out[to + i] = fround(scale * bitPair(view, at + 16, i)) - min;
    }
  },
  // 32 bytes of third bits, 64 of 2-bit values, 12 of 6-bit scales, d: f16; (q - 4) (d (scale - 32))
  Q3_K(view, at, out, to) {
    for (let sub = 0; sub < 16; sub++) {
      const scale = threeBitScale(view, at, sub);
      for (let i = 16 * sub; i < 16 * sub + 16; i++) out[to + i] = scale * (threeBits(view, at, i) - 4);
    }
  },
  // d, dmin: f16, 8 pairs of 6-bit (scale, min) in 12 bytes, 128 bytes of nibbles; q (d scale) - dmin min
  Q4_K(view, at, out, to) {
    for (let sub = 0; sub < 8; sub++) {
      const { scale, min } = subBlockScales(view, at, sub);
      for (let i = 0; i < 32; i++) out[to + 32 * sub + i] = fround(scale * nibbleOfK(view, at + 16, sub, i)) - min;
    }
  },
  // as Q4_K, with 32 bytes of fifth bits before the nibbles: bit `sub` of byte i belongs to element i of the sub-block
  Q5_K(view, at, out, to) {
    for (let sub = 0; sub < 8; sub++) {
      const { scale, min } = subBlockScales(view, at, sub);
      for (let i = 0; i < 32; i++) {
        const q = nibbleOfK(view, at + 48, sub, i) | (((view.getUint8(at + 16 + i) >> sub) & 1) << 4);
        out[to + 32 * sub + i] = fround(scale * q) - min;
      }
    }
  },
  // 128 bytes of low nibbles, 64 of upper bit pairs, 16 int8 scales, d: f16; (q - 32) (d scale)
  Q6_K(view, at, out, to) {
    const d = half(view, at + 208);
    for (let i = 0; i < 256; i++) {
      const scale = fround(d * view.getInt8(at + 192 + (i >> 4)));
      out[to + i] = scale * (sixBits(view, at, i) - 32);
    }
  },
  // d: f16, 16 bytes of nibbles that choose among 16 levels; level d
  IQ4_NL(view, at, out, to) {
    const d = half(view, at);
    for (let i = 0; i < 32; i++) out[to + i] = d * nonlinearLevels[nibble(view, at + 2, i)]!;
  },
};

/** What IQ4_NL's nibbles stand for: denser around zero, where weights are. */
export const nonlinearLevels = Int8Array.of(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);

const bits = new Uint32Array(1);
const bitsAsFloat = new Float32Array(bits.buffer);

/** Scale and minimum of sub-block `sub` (16 elements) of a Q2_K block: the nibbles of a byte. */
export function quarterScales(view: DataView, at: number, sub: number): { scale: number; min: number } {
  const both = view.getUint8(at + sub);
  return { scale: fround(half(view, at + 80) * (both & 15)), min: fround(half(view, at + 82) * (both >> 4)) };
}

/** Element i (0..255) of 64 bytes of 2-bit values: two halves of 128, each of four runs of 32. */
export function bitPair(view: DataView, at: number, i: number): number {
  return (view.getUint8(at + 32 * (i >> 7) + (i & 31)) >> (2 * ((i >> 5) & 3))) & 3;
}

/** Element i (0..255) of a Q3_K block: bit i / 32 of byte i % 32 is its third. */
export function threeBits(view: DataView, at: number, i: number): number {
  return bitPair(view, at + 32, i) | (((view.getUint8(at + (i & 31)) >> (i >> 5)) & 1) << 2);
}

/** Scale of sub-block `sub` (16 elements) of a Q3_K block: four bits in a nibble of 8 bytes, two in a pair of 4 more. */
export function threeBitScale(view: DataView, at: number, sub: number): number {
  const low = view.getUint8(at + 96 + (sub & 7)) >> (sub < 8 ? 0 : 4);
  const high = view.getUint8(at + 104 + (sub & 3)) >> (2 * (sub >> 2));
  return fround(half(view, at + 108) * (((low & 15) | ((high & 3) << 4)) - 32));
}

/** Scale and minimum of sub-block `sub` of a Q4_K or Q5_K block: six bits each, the last four split over three bytes. */
export function subBlockScales(view: DataView, at: number, sub: number): { scale: number; min: number } {
  const byte = (i: number) => view.getUint8(at + 4 + i);
  const scale = sub < 4 ? byte(sub) & 63 : (byte(sub + 4) & 15) | ((byte(sub - 4) >> 6) << 4);
  const min = sub < 4 ? byte(sub + 4) & 63 : (byte(sub + 4) >> 4) | ((byte(sub) >> 6) << 4);
  return { scale: fround(half(view, at) * scale), min: fround(half(view, at + 2) * min) };
}

/** Element i of sub-block `sub`: even sub-blocks are the low nibbles of 32 bytes, odd ones the high nibbles. */
export function nibbleOfK(view: DataView, at: number, sub: number, i: number): number {
  const byte = view.getUint8(at + 32 * (sub >> 1) + i);
  return sub % 2 === 0 ? byte & 15 : byte >> 4;
}

/** Element i (0..255) of a Q6_K block: two halves of 128, each of four runs of 32. */
export function sixBits(view: DataView, at: number, i: number): number {
  const inHalf = i & 127;
  const run = inHalf >> 5;
  const l = inHalf & 31;
  const low = view.getUint8(at + 64 * (i >> 7) + 32 * (run & 1) + l);
  const high = view.getUint8(at + 128 + 32 * (i >> 7) + l);
  return (run < 2 ? low & 15 : low >> 4) | (((high >> (2 * run)) & 3) << 4);
}
