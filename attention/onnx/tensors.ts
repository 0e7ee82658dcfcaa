import { Tensor } from "onnxruntime-node";
import { halfToFloat } from "../../models/half.ts";

/** float32 of every float16, by its bits. */
let halves: Float32Array | undefined;

/** A tensor of whole numbers in one of the types that decoders take them in. Throws TypeError for another. */
export function integers(type: string, values: Int32Array, dims: readonly number[]): Tensor {
  switch (type) {
    case "int64":
      return new Tensor(type, BigInt64Array.from(values, BigInt), dims);
    case "int32":
      return new Tensor(type, values, dims);
    case "bool":
      return new Tensor(type, Uint8Array.from(values), dims);
    case "float32":
      return new Tensor(type, Float32Array.from(values), dims);
    default:
      throw new TypeError(`whole numbers as ${type} are not known`);
  }
}

/** A tensor's elements as bytes, not copied. */
export function bytesOf({ data }: Tensor): Uint8Array {
  const { buffer, byteOffset, byteLength } = data as Float32Array;
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** The values of a float tensor. float16 comes in a Uint16Array of bits, or in newer Nodes in a Float16Array: the bits count. */
export function floatsOf(tensor: Tensor): Float32Array {
  if (tensor.type === "float32") return tensor.data as Float32Array;
  if (tensor.type !== "float16") throw new TypeError(`floats as ${tensor.type} are not known`);
  halves ??= Float32Array.from({ length: 2 ** 16 }, (_, bits) => halfToFloat(bits));
  const table = halves;
  const { buffer, byteOffset, length } = tensor.data as Uint16Array;
  return Float32Array.from(new Uint16Array(buffer, byteOffset, length), (bits) => table[bits]!);
}
