import protobuf from "protobufjs";
import { onnxSchema } from "./schema.ts";

/** An int64 as protobufjs reads it (`long`'s Long); plain integers are accepted when writing. */
export type Int64 = number | { readonly low: number; readonly high: number; readonly unsigned: boolean };

export interface StringStringEntryProto {
  key: string;
  value: string;
}

export interface TensorProto {
  dims: Int64[];
  /** A `DataType`. */
  dataType: number;
  floatData: number[];
  int32Data: number[];
  stringData: Uint8Array[];
  int64Data: Int64[];
  doubleData: number[];
  uint64Data: Int64[];
  name: string;
  docString: string;
  rawData: Uint8Array;
  externalData: StringStringEntryProto[];
  /** 0: in this message, 1: in the file that `externalData` names. */
  dataLocation: number;
  metadataProps: StringStringEntryProto[];
  /** Not part of the format: where `readModel` found the external bytes. Never written. */
  external?: { readonly file: string; readonly offset: number; readonly length: number } | undefined;
  /** Not part of the format either: makes the bytes when they are asked for, so that a large model is never whole in memory. */
  deferred?: (() => Uint8Array) | undefined;
}

export interface SparseTensorProto {
  values: TensorProto | null;
  indices: TensorProto | null;
  dims: Int64[];
}

export interface AttributeProto {
  name: string;
  refAttrName: string;
  docString: string;
  /** An `AttributeType`. */
  type: number;
  f: number;
  i: Int64;
  s: Uint8Array;
  t: TensorProto | null;
  g: GraphProto | null;
  sparseTensor: SparseTensorProto | null;
  tp: TypeProto | null;
  floats: number[];
  ints: Int64[];
  strings: Uint8Array[];
  tensors: TensorProto[];
  graphs: GraphProto[];
  sparseTensors: SparseTensorProto[];
  typeProtos: TypeProto[];
}

export interface NodeProto {
  input: string[];
  output: string[];
  name: string;
  opType: string;
  domain: string;
  overload: string;
  attribute: AttributeProto[];
  docString: string;
  metadataProps: StringStringEntryProto[];
}

export interface DimensionProto {
  /** Which of the two is set; undefined for an unknown dimension. */
  readonly value?: "dimValue" | "dimParam" | undefined;
  dimValue: Int64;
  dimParam: string;
  denotation: string;
}

export interface TensorShapeProto {
  dim: DimensionProto[];
}

export interface TypeProto {
  tensorType: { elemType: number; shape: TensorShapeProto | null } | null;
  denotation: string;
}

export interface ValueInfoProto {
  name: string;
  type: TypeProto | null;
  docString: string;
  metadataProps: StringStringEntryProto[];
}

export interface TensorAnnotation {
  tensorName: string;
  quantParameterTensorNames: StringStringEntryProto[];
}

export interface GraphProto {
  node: NodeProto[];
  name: string;
  initializer: TensorProto[];
  sparseInitializer: SparseTensorProto[];
  docString: string;
  input: ValueInfoProto[];
  output: ValueInfoProto[];
  valueInfo: ValueInfoProto[];
  quantizationAnnotation: TensorAnnotation[];
  metadataProps: StringStringEntryProto[];
}

export interface OperatorSetIdProto {
  domain: string;
  version: Int64;
}

export interface FunctionProto {
  name: string;
  domain: string;
  overload: string;
  input: string[];
  output: string[];
  attribute: string[];
  attributeProto: AttributeProto[];
  node: NodeProto[];
  opsetImport: OperatorSetIdProto[];
}

export interface ModelProto {
  irVersion: Int64;
  opsetImport: OperatorSetIdProto[];
  producerName: string;
  producerVersion: string;
  domain: string;
  modelVersion: Int64;
  docString: string;
  graph: GraphProto | null;
  metadataProps: StringStringEntryProto[];
  functions: FunctionProto[];
}

/** TensorProto.DataType. */
export const DataType = {
  UNDEFINED: 0,
  FLOAT: 1,
  UINT8: 2,
  INT8: 3,
  UINT16: 4,
  INT16: 5,
  INT32: 6,
  INT64: 7,
  STRING: 8,
  BOOL: 9,
  FLOAT16: 10,
  DOUBLE: 11,
  UINT32: 12,
  UINT64: 13,
  COMPLEX64: 14,
  COMPLEX128: 15,
  BFLOAT16: 16,
  FLOAT8E4M3FN: 17,
  FLOAT8E4M3FNUZ: 18,
  FLOAT8E5M2: 19,
  FLOAT8E5M2FNUZ: 20,
  UINT4: 21,
  INT4: 22,
  FLOAT4E2M1: 23,
  FLOAT8E8M0: 24,
  UINT2: 25,
  INT2: 26,
  FLOAT6E2M3: 27,
  FLOAT6E3M2: 28,
} as const;

/** AttributeProto.AttributeType, the kinds that this project reads or writes. */
export const AttributeType = {
  FLOAT: 1,
  INT: 2,
  STRING: 3,
  TENSOR: 4,
  GRAPH: 5,
  FLOATS: 6,
  INTS: 7,
  STRINGS: 8,
} as const;

const root = protobuf.parse(onnxSchema, { keepCase: false }).root.resolveAll();

/** protobufjs' codec for a message; `create` fills absent fields with protobuf's defaults. */
export interface MessageCodec<T> {
  create(fields?: Partial<T>): T;
  encode(message: T): Uint8Array;
  /** Throws for bytes that are no such message. Byte fields are views of `bytes`. */
  decode(bytes: Uint8Array): T;
}

function codec<T>(name: string): MessageCodec<T> {
  const type = root.lookupType(`onnx.${name}`);
  return {
    create: (fields = {}) => type.create(fields as Record<string, unknown>) as unknown as T,
    encode: (message) => type.encode(message as protobuf.Message).finish(),
    decode: (bytes) => {
      const reader = protobuf.Reader.create(bytes);
      reader.discardUnknown = false;
      return type.decode(reader) as unknown as T;
    },
  };
}

export const ModelMessage = codec<ModelProto>("ModelProto");
export const GraphMessage = codec<GraphProto>("GraphProto");
export const NodeMessage = codec<NodeProto>("NodeProto");
export const AttributeMessage = codec<AttributeProto>("AttributeProto");
export const TensorMessage = codec<TensorProto>("TensorProto");
export const ValueInfoMessage = codec<ValueInfoProto>("ValueInfoProto");
export const TypeMessage = codec<TypeProto>("TypeProto");
export const DimensionMessage = codec<DimensionProto>("TensorShapeProto.Dimension");
export const OperatorSetIdMessage = codec<OperatorSetIdProto>("OperatorSetIdProto");

/** An int64 as a number. The extremes that ONNX uses for "to the end" come out as +-2^63, beyond any size. */
export function toNumber(value: Int64): number {
  if (typeof value === "number") return value;
  return value.high * 4294967296 + (value.low >>> 0);
}
