import { halfToFloat } from "../half.ts";

/** What a builder needs of a model's weights, whatever file they come from. */

/** How plain floats are stored. */
export type DenseType = "f32" | "f16" | "bf16";

/** A matrix of plain floats, one row for each output, as its file has them. */
export interface DenseMatrix {
  readonly kind: "dense";
  readonly rows: number;
  readonly columns: number;
  readonly dtype: DenseType;
  /** Where the model's own files have the rows, one piece after the other; absent if they have them in another order. */
  readonly pieces?: readonly Piece[];
  /** [rows, columns], little-endian; at an address that typed arrays accept. Reads the files anew at each call. */
  read(): Uint8Array;
}

/** Rows of a matrix that lie one after the other in a file. */
export interface Piece {
  readonly path: string;
  readonly offset: number;
  readonly rows: number;
}

/** The values of little-endian floats, as float32. f32 is not copied. */
export function floatsOf(dtype: DenseType, bytes: Uint8Array): Float32Array {
  if (dtype === "f32") return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  const halves = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
  // Plain loops: `from` with a function takes several times as long, and a checkpoint has billions of these.
  const values = new Float32Array(halves.length);
  if (dtype === "f16") {
    for (let i = 0; i < halves.length; i++) values[i] = halfToFloat(halves[i]!);
    return values;
  }
  const bits = new Uint32Array(values.buffer);
  for (let i = 0; i < halves.length; i++) bits[i] = halves[i]! << 16;
  return values;
}

/**
 * A matrix quantised in blocks along its rows: an element is scale * (q - zero) + offset, with q an unsigned integer of
 * `bits` bits and one scale (and offset, if there are any) for each block of `blockSize` columns. See `zeroOf`.
 */
export interface BlockMatrix {
  readonly kind: "blocks";
  readonly rows: number;
  readonly columns: number;
  readonly bits: 4 | 8;
  readonly blockSize: number;
  /** [rows, columns * bits / 8]; of two 4-bit values in a byte the first is the low one. */
  readonly quants: Uint8Array;
  /** [rows, columns / blockSize] */
  readonly scales: Float32Array;
  readonly offsets?: Float32Array;
}

/** What is taken off each q: without offsets the middle of its range, with them nothing. */
export function zeroOf({ bits, offsets }: Pick<BlockMatrix, "bits" | "offsets">): number {
  return offsets ? 0 : 2 ** (bits - 1);
}

export type WeightMatrix = DenseMatrix | BlockMatrix;

/** Weights by the names that Hugging Face's classes give them, e.g. "model.layers.0.self_attn.q_proj.weight". */
export interface WeightSource {
  has(name: string): boolean;
  /** Throws ModelError, naming file and tensor, if it is missing, of another shape or of an unsupported type. */
  vector(name: string, length: number): Float32Array;
  /** As `vector`. Rows of q_proj and k_proj are in Hugging Face's order: rope pairs are (i, i + rotaryDim / 2). */
  matrix(name: string, rows: number, columns: number): WeightMatrix;
}

/** The rows of several matrices, one after the other; undefined if they are not stored the same way. */
export function stackRows(matrices: readonly WeightMatrix[]): WeightMatrix | undefined {
  const first = matrices[0]!;
  if (matrices.length === 1) return first;
  const rows = matrices.reduce((sum, matrix) => sum + matrix.rows, 0);
  const { columns } = first;
  if (matrices.every((matrix) => matrix.kind === "dense")) {
    const { dtype } = matrices[0]!;
    if (!matrices.every((matrix) => matrix.dtype === dtype)) return undefined;
    const pieces = matrices.every((matrix) => matrix.pieces) ? matrices.flatMap((matrix) => matrix.pieces!) : undefined;
    const read = () => Buffer.concat(matrices.map((matrix) => matrix.read()));
    return { kind: "dense", rows, columns, dtype, read, ...(pieces ? { pieces } : {}) };
  }
  if (!matrices.every((matrix) => matrix.kind === "blocks") || first.kind !== "blocks") return undefined;
  const { bits, blockSize } = first;
  const alike = matrices.every(
    (matrix) =>
      matrix.bits === bits &&
      matrix.blockSize === blockSize &&
      (matrix.offsets === undefined) === (first.offsets === undefined),
  );
  if (!alike) return undefined;
  const offsets = matrices.flatMap((matrix) => (matrix.offsets ? [matrix.offsets] : []));
  return {
    kind: "blocks",
    rows,
    columns,
    bits,
    blockSize,
    quants: joined(
      matrices.map((matrix) => matrix.quants),
      (length) => new Uint8Array(length),
    ),
    scales: joined(
      matrices.map((matrix) => matrix.scales),
      floats,
    ),
    ...(offsets.length > 0 ? { offsets: joined(offsets, floats) } : {}),
  };
}

const floats = (length: number) => new Float32Array(length);

function joined<Values extends Uint8Array | Float32Array>(
  arrays: readonly Values[],
  make: (length: number) => Values,
): Values {
  const out = make(arrays.reduce((sum, array) => sum + array.length, 0));
  let at = 0;
  for (const array of arrays) {
    out.set(array, at);
    at += array.length;
  }
  return out;
}

/** [rows, columns] to [columns, rows]. */
export function transpose(values: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) out[column * rows + row] = values[row * columns + column]!;
  }
  return out;
}
