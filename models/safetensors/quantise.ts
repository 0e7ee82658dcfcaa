/**
 * Floats to blocks of 32 with one scale each, as `--quantize` asks: int8 in steps of the block's largest magnitude / 127, int4
 * with the scale, of a few near the largest magnitude / 8, that leaves the smallest squared error.
 */
import { type BlockMatrix, type DenseMatrix, floatsOf, type WeightMatrix } from "../builder/weights.ts";
import { ModelError } from "../errors.ts";
import { type Quantisation, quantisations } from "./quantisations.ts";

export { type Quantisation, quantisations };

export const BLOCK_SIZE = 32;

/** What the largest magnitude of a block becomes, of -8 to 7 (its sign is the scale's): tried in turn. */
const INT4_EXTREMES = [-8, -7.4, -6.9, -8.6, -9.2, 7.4];

/** quantise() or what gives the same. */
export type Quantiser = (matrix: WeightMatrix, kind: Quantisation, name: string) => WeightMatrix;

/**
 * The matrix in blocks; itself if its rows are no whole blocks, since padding would change what shares a scale.
 * @param name for the error about a weight that is not finite
 */
export function quantise(matrix: WeightMatrix, kind: Quantisation, name: string): WeightMatrix {
  if (matrix.kind === "blocks" || matrix.columns % BLOCK_SIZE !== 0) return matrix;
  const values = floatsOf(matrix.dtype, matrix.read());
  return kind === "int8" ? toInt8(matrix, values, name) : toInt4(matrix, values, name);
}

function toInt8({ rows, columns }: DenseMatrix, values: Float32Array, name: string): BlockMatrix {
  const quants = new Uint8Array(values.length);
  const scales = new Float32Array(values.length / BLOCK_SIZE);
  for (let block = 0, at = 0; block < scales.length; block++, at += BLOCK_SIZE) {
    const scale = nearestHalf(Math.abs(extremeOf(values, at, name)) / 127);
    scales[block] = scale;
    const inverse = scale === 0 ? 0 : 1 / scale;
    for (let i = 0; i < BLOCK_SIZE; i++) {
      quants[at + i] = 128 + Math.max(-127, Math.min(127, nearest(values[at + i]! * inverse)));
    }
  }
  return { kind: "blocks", rows, columns, bits: 8, blockSize: BLOCK_SIZE, quants, scales };
}

function toInt4({ rows, columns }: DenseMatrix, values: Float32Array, name: string): BlockMatrix {
  const quants = new Uint8Array(values.length / 2);
  const scales = new Float32Array(values.length / BLOCK_SIZE);
  for (let block = 0, at = 0; block < scales.length; block++, at += BLOCK_SIZE) {
    const scale = bestScale(values, at, extremeOf(values, at, name));
    scales[block] = scale;
    const inverse = scale === 0 ? 0 : 1 / scale;
    for (let i = 0; i < BLOCK_SIZE; i += 2) {
      const low = 8 + nibble(values[at + i]! * inverse);
      quants[(at + i) / 2] = low | ((8 + nibble(values[at + i + 1]! * inverse)) << 4);
    }
  }
  return { kind: "blocks", rows, columns, bits: 4, blockSize: BLOCK_SIZE, quants, scales };
}

/** 1.5 * 2^52: adding it leaves no bits below the units, so that adding and subtracting it rounds; Math.round takes far longer. */
const ROUND = 6_755_399_441_055_744;

function nearest(value: number): number {
  return value + ROUND - ROUND;
}

function nibble(value: number): number {
  return Math.max(-8, Math.min(7, nearest(value)));
}

function bestScale(values: Float32Array, at: number, extreme: number): number {
  let best = 0;
  let least = Number.POSITIVE_INFINITY;
  for (const target of INT4_EXTREMES) {
    const scale = nearestHalf(extreme / target);
    if (scale === 0) continue;
    const inverse = 1 / scale;
    let error = 0;
    for (let i = 0; i < BLOCK_SIZE; i++) {
      const value = values[at + i]!;
      const left = value - scale * nibble(value * inverse);
      error += left * left;
    }
    if (error < least) {
      least = error;
      best = scale;
    }
  }
  return best;
}

/** The value of a block that is largest in magnitude. */
function extremeOf(values: Float32Array, at: number, name: string): number {
  let extreme = 0;
  for (let i = 0; i < BLOCK_SIZE; i++) {
    const value = values[at + i]!;
    if (!Number.isFinite(value)) {
      throw new ModelError(
        "file_invalid",
        `tensor "${name}" has ${value} at element ${at + i}; it cannot be quantised`,
      );
    }
    if (Math.abs(value) > Math.abs(extreme)) extreme = value;
  }
  return extreme;
}

/** The nearest value that f16 holds, in which scales are stored; beyond its range the value itself, then stored as f32. */
function nearestHalf(value: number): number {
  const magnitude = Math.abs(value);
  if (magnitude >= 65_504) return Math.fround(value);
  const step = magnitude < 2 ** -14 ? 2 ** -24 : 2 ** (Math.floor(Math.log2(magnitude)) - 10);
  return Math.round(value / step) * step;
}
