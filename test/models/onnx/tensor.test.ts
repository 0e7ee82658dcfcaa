import { describe, expect, it } from "vitest";
import { halfToFloat } from "../../../models/half.ts";
import {
  byteLength,
  DataType,
  floatTensor,
  int64Tensor,
  rawTensor,
  TensorMessage,
  tensorBytes,
  tensorToFloat32,
  tensorToNumbers,
} from "../../../models/onnx/proto.ts";

function shorts(...values: number[]): Uint8Array {
  return new Uint8Array(Uint16Array.from(values).buffer);
}

describe("tensors", () => {
  it("reads float16: normal, subnormal, infinite, NaN, signed zero", () => {
    const bits = [0x3c00, 0xc000, 0x7bff, 0x0400, 0x0001, 0x83ff, 0x7c00, 0xfc00, 0x7e00, 0x8000, 0x3555];
    const values = [1, -2, 65504, 2 ** -14, 2 ** -24, -1023 * 2 ** -24, Infinity, -Infinity, NaN, -0, 0.333251953125];
    expect(bits.map(halfToFloat)).toEqual(values);
    expect([...tensorToFloat32(rawTensor("h", DataType.FLOAT16, [11], shorts(...bits)))]).toEqual(values);
  });

  it("reads bfloat16 and doubles", () => {
    const brain = rawTensor("b", DataType.BFLOAT16, [3], shorts(0x3f80, 0xc040, 0x7f80));
    expect([...tensorToFloat32(brain)]).toEqual([1, -3, Infinity]);
    const double = rawTensor("d", DataType.DOUBLE, [1], new Uint8Array(Float64Array.of(0.1).buffer));
    expect([...tensorToFloat32(double)]).toEqual([Math.fround(0.1)]);
  });

  it("reads every typed field as it reads raw data", () => {
    const typed = (dataType: number, fields: object) =>
      TensorMessage.create({ name: "t", dataType, dims: [2], ...fields });
    expect([...tensorToFloat32(typed(DataType.FLOAT, { floatData: [0.5, -1] }))]).toEqual([0.5, -1]);
    expect([...tensorToFloat32(typed(DataType.DOUBLE, { doubleData: [0.5, -1] }))]).toEqual([0.5, -1]);
    expect([...tensorToFloat32(typed(DataType.FLOAT16, { int32Data: [0x3c00, 0xc000] }))]).toEqual([1, -2]);
    expect(tensorToNumbers(typed(DataType.INT64, { int64Data: [-3, { low: 5, high: 0, unsigned: false }] }))).toEqual([
      -3, 5,
    ]);
    expect(tensorToNumbers(typed(DataType.INT32, { int32Data: [-3, 5] }))).toEqual([-3, 5]);
    expect(tensorToNumbers(typed(DataType.INT8, { int32Data: [-3, 5] }))).toEqual([-3, 5]);
    expect(tensorToNumbers(typed(DataType.BOOL, { int32Data: [1, 0] }))).toEqual([1, 0]);
    expect([...tensorBytes(typed(DataType.UINT32, { uint64Data: [1, 256] }))]).toEqual([1, 0, 0, 0, 0, 1, 0, 0]);
  });

  it("makes tensors that read back", () => {
    expect([...tensorToFloat32(floatTensor("f", [2, 1], Float32Array.of(1.5, -2)))]).toEqual([1.5, -2]);
    expect(tensorToNumbers(int64Tensor("i", [], [-7]))).toEqual([-7]);
  });

  it("counts packed bits", () => {
    expect(byteLength(rawTensor("q", DataType.UINT4, [3, 3], new Uint8Array(5)))).toBe(5);
  });

  it("refuses bytes that do not fit the shape, naming tensor and numbers", () => {
    const tensor = rawTensor("layer.weight", DataType.FLOAT, [2, 3], new Uint8Array(20));
    expect(() => tensorToFloat32(tensor)).toThrow(
      'tensor "layer.weight" of shape [2,3] and type FLOAT needs 24 bytes and has 20',
    );
  });

  it("refuses types that it cannot convert", () => {
    expect(() => tensorToFloat32(int64Tensor("ids", [1], [1]))).toThrow('tensor "ids" has type INT64');
    expect(() => tensorToNumbers(floatTensor("w", [1], Float32Array.of(1)))).toThrow('tensor "w" has type FLOAT');
  });
});
