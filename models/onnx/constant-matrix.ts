import type { BlockMatrix, DenseMatrix, DenseType, WeightMatrix } from "../builder/weights.ts";
import { zeroOf } from "../builder/weights.ts";
import { ModelError } from "../errors.ts";
import { attribute, describeNode, type Graph, intAttribute } from "./graph.ts";
import { DataType, type NodeProto, type TensorProto } from "./messages.ts";
import { elementCount, tensorBytes, tensorShape, tensorToFloat32 } from "./tensor.ts";

/** A constant of two dimensions as a matrix of [outputs, inputs]. Its elements are read from the file when asked for. */
export interface ConstantMatrix {
  /** The same for constants that are the same bytes in the same order. */
  readonly key: string;
  readonly matrix: WeightMatrix;
}

/** Integers, with a scale and a zero for each run of columns; what DequantizeLinear and MatMulNBits have in common. */
interface QuantisedMatrix {
  readonly rows: number;
  readonly columns: number;
  readonly bits: 4 | 8;
  /** Columns that share a scale. */
  readonly run: number;
  /** [rows, columns * bits / 8] as in BlockMatrix. */
  readonly quants: () => Uint8Array;
  scale(row: number, column: number): number;
  /** As an unsigned level; may be between two. */
  zero(row: number, column: number): number;
}

const denseTypes = new Map<number, DenseType>([
  [DataType.FLOAT, "f32"],
  [DataType.FLOAT16, "f16"],
  [DataType.BFLOAT16, "bf16"],
]);
const integerBits = new Map<number, { bits: 4 | 8; signed: boolean }>([
  [DataType.INT8, { bits: 8, signed: true }],
  [DataType.UINT8, { bits: 8, signed: false }],
  [DataType.INT4, { bits: 4, signed: true }],
  [DataType.UINT4, { bits: 4, signed: false }],
]);

/**
 * The matrix behind a constant, looking through Identity, Cast, Transpose and DequantizeLinear; undefined for one that would
 * have to be computed. `outputsFirst` says whether the constant is [outputs, inputs] or the other way round.
 */
export function constantMatrix(graph: Graph, tensor: string, outputsFirst: boolean): ConstantMatrix | undefined {
  let flipped = !outputsFirst;
  for (let name = tensor; ; ) {
    const node = graph.producer(name);
    const stored =
      graph.initializers.get(name) ?? (node?.opType === "Constant" ? attribute(node, "value")?.t : undefined);
    if (stored) {
      const matrix = denseMatrix(stored, flipped);
      return matrix && { key: `${name}:${flipped}`, matrix };
    }
    if (!node) return undefined;
    if (node.opType === "DequantizeLinear") {
      const matrix = dequantised(graph, node, flipped);
      return matrix && { key: `${name}:${flipped}`, matrix };
    }
    if (node.opType === "Transpose") flipped = !flipped;
    else if (node.opType !== "Identity" && node.opType !== "Cast") return undefined;
    name = node.input[0]!;
  }
}

function denseMatrix(tensor: TensorProto, flipped: boolean): DenseMatrix | undefined {
  const dtype = denseTypes.get(tensor.dataType);
  const [first, second, ...more] = tensorShape(tensor);
  if (dtype === undefined || first === undefined || second === undefined || more.length > 0) return undefined;
  const [rows, columns] = flipped ? [second, first] : [first, second];
  return {
    kind: "dense",
    rows,
    columns,
    dtype,
    read: () => {
      const bytes = new Uint8Array(tensorBytes(tensor));
      if (!flipped) return bytes;
      return dtype === "f32"
        ? turned(new Uint32Array(bytes.buffer), rows)
        : turned(new Uint16Array(bytes.buffer), rows);
    },
  };
}

/** [columns, rows] to the bytes of [rows, columns]. */
function turned(values: Uint32Array | Uint16Array | Uint8Array, rows: number): Uint8Array {
  const columns = values.length / rows;
  const out = values.slice();
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) out[row * columns + column] = values[column * rows + row]!;
  }
  return new Uint8Array(out.buffer, out.byteOffset, out.byteLength);
}

/** Integers with scale and zero point as DequantizeLinear takes them: one for all, for each index of an axis, or blocks. */
function dequantised(graph: Graph, node: NodeProto, flipped: boolean): WeightMatrix | undefined {
  const [valuesName = "", scaleName = "", zeroName = ""] = node.input;
  const scale = graph.storedTensor(scaleName);
  if (!scale) return undefined;
  const axis = (intAttribute(node, "axis", 1) + 2) % 2;
  const blockSize = intAttribute(node, "block_size", 0);
  return scaledIntegers(graph, valuesName, { scale, zeroName, axis, blockSize }, flipped);
}

export interface Scaling {
  readonly scale: TensorProto;
  /** "" for the zero of the type. */
  readonly zeroName: string;
  /** The stored dimension that scales go along, unless there is one scale alone. */
  readonly axis: number;
  /** 0: each index of the axis has its own. */
  readonly blockSize: number;
}

/** A stored matrix of 4 or 8 bit integers as scale * (integer - zero); undefined for other types. */
export function scaledIntegers(
  graph: Graph,
  valuesName: string,
  { scale, zeroName, axis, blockSize }: Scaling,
  flipped: boolean,
): WeightMatrix | undefined {
  const values = graph.storedTensor(valuesName);
  const zeros = zeroName === "" ? undefined : graph.storedTensor(zeroName);
  const type = values && integerBits.get(values.dataType);
  const [first, second, ...more] = values ? tensorShape(values) : [];
  if (!values || !type || first === undefined || second === undefined || more.length > 0) return undefined;
  if (zeroName !== "" && !zeros) return undefined;
  const { bits, signed } = type;
  const scales = tensorToFloat32(scale);
  const expected =
    blockSize > 0 ? [first, second].map((size, i) => (i === axis ? Math.ceil(size / blockSize) : size)) : [];
  const count = blockSize > 0 ? expected[0]! * expected[1]! : [first, second][axis]!;
  if (scales.length !== 1 && scales.length !== count) {
    throw new ModelError(
      "unsupported_graph",
      `the quantised weight "${valuesName}" of shape [${first}, ${second}] has ${scales.length} scales, must have 1 or ${count}`,
    );
  }
  const zeroLevels = zeros && levels(zeros, bits, signed);
  const standard = signed ? 2 ** (bits - 1) : 0;
  const index = (row: number, column: number): number => {
    if (scales.length === 1) return 0;
    const place = flipped ? [column, row] : [row, column];
    if (blockSize === 0) return place[axis]!;
    place[axis] = Math.floor(place[axis]! / blockSize);
    return place[0]! * expected[1]! + place[1]!;
  };
  const [rows, columns] = flipped ? [second, first] : [first, second];
  // Whether scales go along the inputs.
  const along = scales.length > 1 && (flipped ? axis === 0 : axis === 1);
  return matrixOf({
    rows,
    columns,
    bits,
    run: along ? blockSize || 1 : columns,
    quants: () => {
      const all = levels(values, bits, signed);
      const ordered = flipped ? turned(all, rows) : all;
      return bits === 8 ? ordered : pack(ordered);
    },
    scale: (row, column) => scales[index(row, column)]!,
    zero: (row, column) => (zeroLevels ? zeroLevels[zeroLevels.length === 1 ? 0 : index(row, column)]! : standard),
  });
}

/** One unsigned level for each element. */
function levels(tensor: TensorProto, bits: 4 | 8, signed: boolean): Uint8Array {
  const bytes = tensorBytes(tensor);
  const flip = signed ? 2 ** (bits - 1) : 0;
  if (bits === 8) return Uint8Array.from(bytes, (byte) => byte ^ flip);
  const count = elementCount(tensor);
  const out = new Uint8Array(count);
  for (let i = 0; i < count; i++) out[i] = ((bytes[i >> 1]! >> (4 * (i & 1))) & 15) ^ flip;
  return out;
}

/** Two levels in a byte, the first one low. */
function pack(all: Uint8Array): Uint8Array {
  const out = new Uint8Array(Math.ceil(all.length / 2));
  for (let i = 0; i < all.length; i++) out[i >> 1]! |= all[i]! << (4 * (i & 1));
  return out;
}

/** The weights of com.microsoft.MatMulNBits; undefined for what is kept as that operator. */
export function blockMatrix(graph: Graph, node: NodeProto): ConstantMatrix | undefined {
  const [, valuesName = "", scalesName = "", zerosName = "", order = ""] = node.input;
  const [rows, columns, bits, run] = [
    intAttribute(node, "N", 0),
    intAttribute(node, "K", 0),
    intAttribute(node, "bits", 4),
    intAttribute(node, "block_size", 0),
  ];
  const values = graph.storedTensor(valuesName);
  const scale = graph.storedTensor(scalesName);
  const zero = zerosName === "" ? undefined : graph.storedTensor(zerosName);
  if (!values || !scale || (zerosName !== "" && !zero) || order !== "" || (bits !== 4 && bits !== 8)) return undefined;
  const blocks = Math.ceil(columns / run);
  const blockBytes = (run * bits) / 8;
  const scales = tensorToFloat32(scale);
  const rowBytes = (columns * bits) / 8;
  if (!Number.isInteger(rowBytes) || scales.length !== rows * blocks) return undefined;
  if (elementCount(values) !== rows * blocks * blockBytes) {
    throw new ModelError(
      "unsupported_graph",
      `${describeNode(node)} has weights of shape [${tensorShape(values)}], must be [${rows}, ${blocks}, ${blockBytes}]`,
    );
  }
  const zeros = zero && zeroPoints(zero, rows, blocks, bits);
  if (zero && !zeros) return undefined;
  const matrix = matrixOf({
    rows,
    columns,
    bits,
    run,
    quants: () => {
      const bytes = tensorBytes(values);
      if (rowBytes === blocks * blockBytes) return bytes;
      // The last block of each row is filled up.
      const out = new Uint8Array(rows * rowBytes);
      for (let row = 0; row < rows; row++) {
        const start = row * blocks * blockBytes;
        out.set(bytes.subarray(start, start + rowBytes), row * rowBytes);
      }
      return out;
    },
    scale: (row, column) => scales[row * blocks + Math.floor(column / run)]!,
    zero: (row, column) => (zeros ? zeros[row * blocks + Math.floor(column / run)]! : 2 ** (bits - 1)),
  });
  return matrix.kind === "blocks" ? { key: `${valuesName}:blocks`, matrix } : undefined;
}

/** [rows, blocks]: packed as the weights are, each row from a byte of its own, or floats. */
function zeroPoints(tensor: TensorProto, rows: number, blocks: number, bits: 4 | 8): Float32Array | undefined {
  if (denseTypes.has(tensor.dataType)) {
    const values = tensorToFloat32(tensor);
    return values.length === rows * blocks ? values : undefined;
  }
  const bytes = tensorBytes(tensor);
  const rowBytes = Math.ceil((blocks * bits) / 8);
  if (tensor.dataType !== DataType.UINT8 || bytes.length !== rows * rowBytes) return undefined;
  const out = new Float32Array(rows * blocks);
  for (let i = 0; i < out.length; i++) {
    const block = i % blocks;
    const byte = bytes[Math.floor(i / blocks) * rowBytes + ((block * bits) >> 3)]!;
    out[i] = bits === 8 ? byte : (byte >> (4 * (block & 1))) & 15;
  }
  return out;
}

/** In blocks that sparq.QLinear has, if the columns and runs allow, with a run's scale in each of its blocks; else f32. */
function matrixOf(source: QuantisedMatrix): WeightMatrix {
  const { rows, columns, bits, run } = source;
  const fits = (size: number) => columns % size === 0 && (run === columns || run % size === 0);
  const blockSize = [32, 16].find(fits);
  if (blockSize === undefined) return dequantisedMatrix(source);
  const blocks = columns / blockSize;
  const scales = new Float32Array(rows * blocks);
  const zeros = new Float32Array(rows * blocks);
  for (let i = 0; i < scales.length; i++) {
    const [row, column] = [Math.floor(i / blocks), (i % blocks) * blockSize];
    scales[i] = source.scale(row, column);
    zeros[i] = source.zero(row, column);
  }
  const middle = zeroOf({ bits });
  const centred = zeros.every((zero) => zero === middle);
  const matrix: Omit<BlockMatrix, "quants"> = {
    kind: "blocks",
    rows,
    columns,
    bits,
    blockSize,
    scales,
    ...(centred ? {} : { offsets: scales.map((scale, i) => -scale * zeros[i]!) }),
  };
  return Object.defineProperty(matrix, "quants", { get: source.quants, enumerable: true }) as BlockMatrix;
}

function dequantisedMatrix({ rows, columns, bits, quants, scale, zero }: QuantisedMatrix): DenseMatrix {
  return {
    kind: "dense",
    rows,
    columns,
    dtype: "f32",
    read: () => {
      const packed = quants();
      const out = new Float32Array(rows * columns);
      for (let i = 0; i < out.length; i++) {
        const level = bits === 8 ? packed[i]! : (packed[i >> 1]! >> (4 * (i & 1))) & 15;
        const [row, column] = [Math.floor(i / columns), i % columns];
        out[i] = scale(row, column) * (level - zero(row, column));
      }
      return new Uint8Array(out.buffer);
    },
  };
}
