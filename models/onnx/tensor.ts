import { closeSync, openSync } from "node:fs";
import { ModelError } from "../errors.ts";
import { readFully } from "../file-range.ts";
import { halfToFloat } from "../half.ts";
import { DataType, TensorMessage, type TensorProto, toNumber } from "./messages.ts";

/** Bits of one element as raw data stores it; absent types (strings, 6-bit floats) have no fixed-size view here. */
const elementBits: Readonly<Record<number, number>> = {
  [DataType.FLOAT]: 32,
  [DataType.UINT8]: 8,
  [DataType.INT8]: 8,
  [DataType.UINT16]: 16,
  [DataType.INT16]: 16,
  [DataType.INT32]: 32,
  [DataType.INT64]: 64,
  [DataType.BOOL]: 8,
  [DataType.FLOAT16]: 16,
  [DataType.DOUBLE]: 64,
  [DataType.UINT32]: 32,
  [DataType.UINT64]: 64,
  [DataType.COMPLEX64]: 64,
  [DataType.COMPLEX128]: 128,
  [DataType.BFLOAT16]: 16,
  [DataType.FLOAT8E4M3FN]: 8,
  [DataType.FLOAT8E4M3FNUZ]: 8,
  [DataType.FLOAT8E5M2]: 8,
  [DataType.FLOAT8E5M2FNUZ]: 8,
  [DataType.UINT4]: 4,
  [DataType.INT4]: 4,
  [DataType.FLOAT4E2M1]: 4,
  [DataType.FLOAT8E8M0]: 8,
  [DataType.UINT2]: 2,
  [DataType.INT2]: 2,
};

const typeNames = new Map(Object.entries(DataType).map(([name, value]) => [value as number, name]));

/** "FLOAT16" for 10; the number itself for a type newer than this list. */
export function dataTypeName(dataType: number): string {
  return typeNames.get(dataType) ?? String(dataType);
}

export function tensorShape(tensor: TensorProto): number[] {
  return tensor.dims.map(toNumber);
}

/** Number of elements; 1 for a scalar. */
export function elementCount(tensor: TensorProto): number {
  return tensorShape(tensor).reduce((product, size) => product * size, 1);
}

/** Bytes that the tensor's elements take as raw data. Throws for types without a fixed size. */
export function byteLength(tensor: TensorProto): number {
  const bits = elementBits[tensor.dataType];
  if (bits === undefined) {
    throw new ModelError("unsupported_graph", `tensor "${tensor.name}" has type ${dataTypeName(tensor.dataType)}`);
  }
  return Math.ceil((elementCount(tensor) * bits) / 8);
}

/**
 * The elements as little-endian bytes, whichever way they are stored: raw, in a typed field, or in an external file
 * (read now). Throws ModelError when there are more or fewer bytes than the shape asks for.
 */
export function tensorBytes(tensor: TensorProto): Uint8Array {
  const bytes = storedBytes(tensor);
  const expected = byteLength(tensor);
  if (bytes.byteLength !== expected) {
    throw new ModelError(
      "file_invalid",
      `tensor "${tensor.name}" of shape [${tensorShape(tensor)}] and type ${dataTypeName(tensor.dataType)} ` +
        `needs ${expected} bytes and has ${bytes.byteLength}`,
    );
  }
  return bytes;
}

/**
 * Checks that a tensor's dimensions are sizes and that the bytes it has are as many as they ask for, without reading or
 * copying them. Throws ModelError "file_invalid", naming the tensor and the numbers.
 */
export function checkTensor(tensor: TensorProto, source: string): void {
  const shape = tensorShape(tensor);
  const what = `${source}: tensor "${tensor.name}" of shape [${shape}] and type ${dataTypeName(tensor.dataType)}`;
  if (!shape.every((size) => Number.isSafeInteger(size) && size >= 0) || !Number.isSafeInteger(elementCount(tensor))) {
    throw new ModelError("file_invalid", `${what} has no such number of elements`);
  }
  // Strings and types without a fixed size are refused where they are used.
  if (elementBits[tensor.dataType] === undefined || tensor.dataLocation === 1) return;
  const [expected, stored] = [byteLength(tensor), storedLength(tensor)];
  if (stored !== expected) throw new ModelError("file_invalid", `${what} needs ${expected} bytes and has ${stored}`);
}

/** As many bytes as `storedBytes` gives for a tensor that is not in an external file. */
function storedLength(tensor: TensorProto): number {
  const { rawData, floatData, doubleData, int64Data, uint64Data, int32Data, dataType } = tensor;
  if (rawData.length > 0) return rawData.length;
  if (floatData.length > 0) return 4 * floatData.length;
  if (doubleData.length > 0) return 8 * doubleData.length;
  if (int64Data.length > 0) return 8 * int64Data.length;
  if (uint64Data.length > 0) return (dataType === DataType.UINT32 ? 4 : 8) * uint64Data.length;
  const bits = elementBits[dataType] ?? 32;
  return int32Data.length * (bits <= 8 ? 1 : bits === 16 ? 2 : 4);
}

function storedBytes(tensor: TensorProto): Uint8Array {
  if (tensor.deferred) return tensor.deferred();
  if (tensor.external) return readFileRange(tensor.external);
  if (tensor.dataLocation === 1) {
    throw new ModelError("file_missing", `tensor "${tensor.name}" has its data in a file that was not resolved`);
  }
  if (tensor.rawData.length > 0) return tensor.rawData;
  if (tensor.floatData.length > 0) return bytesOf(Float32Array.from(tensor.floatData));
  if (tensor.doubleData.length > 0) return bytesOf(Float64Array.from(tensor.doubleData));
  if (tensor.int64Data.length > 0) return bytesOf(BigInt64Array.from(tensor.int64Data, toBigInt));
  if (tensor.uint64Data.length > 0) {
    if (tensor.dataType === DataType.UINT32) return bytesOf(Uint32Array.from(tensor.uint64Data, toNumber));
    return bytesOf(BigUint64Array.from(tensor.uint64Data, (value) => BigInt.asUintN(64, toBigInt(value))));
  }
  if (tensor.int32Data.length > 0) {
    const bits = elementBits[tensor.dataType] ?? 32;
    if (bits <= 8) return Uint8Array.from(tensor.int32Data, (value) => value & 0xff);
    if (bits === 16) return bytesOf(Uint16Array.from(tensor.int32Data, (value) => value & 0xffff));
    return bytesOf(Int32Array.from(tensor.int32Data));
  }
  return new Uint8Array(0);
}

function toBigInt(value: TensorProto["dims"][number]): bigint {
  if (typeof value === "number") return BigInt(value);
  return (BigInt(value.high) << 32n) | BigInt(value.low >>> 0);
}

function bytesOf(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

function readFileRange(range: { file: string; offset: number; length: number }): Uint8Array {
  const bytes = new Uint8Array(range.length);
  const descriptor = openSync(range.file, "r");
  try {
    readFully(descriptor, bytes, range.offset, () => {
      return new ModelError("file_truncated", `${range.file} ends before byte ${range.offset + range.length}`);
    });
  } finally {
    closeSync(descriptor);
  }
  return bytes;
}

/** A copy of the elements' bytes at an address that typed arrays accept. */
function alignedBuffer(tensor: TensorProto): ArrayBuffer {
  return new Uint8Array(tensorBytes(tensor)).buffer;
}

/** Float types (f32, f64, f16, bf16) as float32. Throws ModelError for any other type. */
export function tensorToFloat32(tensor: TensorProto): Float32Array {
  switch (tensor.dataType) {
    case DataType.FLOAT:
      return new Float32Array(alignedBuffer(tensor));
    case DataType.DOUBLE:
      return Float32Array.from(new Float64Array(alignedBuffer(tensor)));
    case DataType.FLOAT16:
      return Float32Array.from(new Uint16Array(alignedBuffer(tensor)), halfToFloat);
    case DataType.BFLOAT16: {
      const bits = Uint32Array.from(new Uint16Array(alignedBuffer(tensor)), (half) => half << 16);
      return new Float32Array(bits.buffer);
    }
    default:
      throw new ModelError(
        "unsupported_graph",
        `tensor "${tensor.name}" has type ${dataTypeName(tensor.dataType)}, a float type was expected`,
      );
  }
}

/** Integer and bool types as numbers. Values past 2^53 lose their low bits. Throws ModelError for any other type. */
export function tensorToNumbers(tensor: TensorProto): number[] {
  switch (tensor.dataType) {
    case DataType.INT64:
      return Array.from(new BigInt64Array(alignedBuffer(tensor)), Number);
    case DataType.INT32:
      return Array.from(new Int32Array(alignedBuffer(tensor)));
    case DataType.UINT8:
    case DataType.BOOL:
      return Array.from(new Uint8Array(alignedBuffer(tensor)));
    case DataType.INT8:
      return Array.from(new Int8Array(alignedBuffer(tensor)));
    default:
      throw new ModelError(
        "unsupported_graph",
        `tensor "${tensor.name}" has type ${dataTypeName(tensor.dataType)}, an integer type was expected`,
      );
  }
}

/** A tensor whose elements are already little-endian bytes, e.g. packed 4-bit weights. The bytes are not copied. */
export function rawTensor(name: string, dataType: number, dims: readonly number[], bytes: Uint8Array): TensorProto {
  return TensorMessage.create({ name, dataType, dims: [...dims], rawData: bytes });
}

/** A float32 tensor. The values are not copied. */
export function floatTensor(name: string, dims: readonly number[], values: Float32Array): TensorProto {
  return rawTensor(name, DataType.FLOAT, dims, bytesOf(values));
}

/** An int64 tensor; a scalar when dims is []. */
export function int64Tensor(name: string, dims: readonly number[], values: readonly number[]): TensorProto {
  return rawTensor(name, DataType.INT64, dims, bytesOf(BigInt64Array.from(values, BigInt)));
}
