/** A way in which GGUF stores a tensor's elements: blocks of `blockSize` elements along a row, `blockBytes` each. */
export interface TensorType {
  readonly id: number;
  readonly name: TensorTypeName;
  readonly blockSize: number;
  readonly blockBytes: number;
}

export type TensorTypeName =
  | "F32"
  | "F16"
  | "BF16"
  | "Q4_0"
  | "Q4_1"
  | "Q5_0"
  | "Q5_1"
  | "Q8_0"
  | "Q2_K"
  | "Q3_K"
  | "Q4_K"
  | "Q5_K"
  | "Q6_K"
  | "IQ4_NL";

/** Ids and block layouts from ggml.h and ggml-common.h. */
const types: readonly TensorType[] = [
  { id: 0, name: "F32", blockSize: 1, blockBytes: 4 },
  { id: 1, name: "F16", blockSize: 1, blockBytes: 2 },
  { id: 2, name: "Q4_0", blockSize: 32, blockBytes: 18 },
  { id: 3, name: "Q4_1", blockSize: 32, blockBytes: 20 },
  { id: 6, name: "Q5_0", blockSize: 32, blockBytes: 22 },
  { id: 7, name: "Q5_1", blockSize: 32, blockBytes: 24 },
  { id: 8, name: "Q8_0", blockSize: 32, blockBytes: 34 },
  { id: 10, name: "Q2_K", blockSize: 256, blockBytes: 84 },
  { id: 11, name: "Q3_K", blockSize: 256, blockBytes: 110 },
  { id: 12, name: "Q4_K", blockSize: 256, blockBytes: 144 },
  { id: 13, name: "Q5_K", blockSize: 256, blockBytes: 176 },
  { id: 14, name: "Q6_K", blockSize: 256, blockBytes: 210 },
  { id: 20, name: "IQ4_NL", blockSize: 32, blockBytes: 18 },
  { id: 30, name: "BF16", blockSize: 1, blockBytes: 2 },
];

export const supportedTypes: readonly TensorTypeName[] = types.map(({ name }) => name);

/** The type with ggml's number, undefined for one that is not supported. */
export function tensorTypeOf(id: number): TensorType | undefined {
  return types.find((type) => type.id === id);
}

export function tensorType(name: TensorTypeName): TensorType {
  return types.find((type) => type.name === name)!;
}

/** ggml's types that are not supported, for messages. */
const otherTypes: Readonly<Record<number, string>> = {
  9: "Q8_1",
  15: "Q8_K",
  16: "IQ2_XXS",
  17: "IQ2_XS",
  18: "IQ3_XXS",
  19: "IQ1_S",
  21: "IQ3_S",
  22: "IQ2_S",
  23: "IQ4_XS",
  24: "I8",
  25: "I16",
  26: "I32",
  27: "I64",
  28: "F64",
  29: "IQ1_M",
  34: "TQ1_0",
  35: "TQ2_0",
  39: "MXFP4",
};

/** The name of a type with ggml's number, or the number itself. */
export function typeNameOf(id: number): string {
  return tensorTypeOf(id)?.name ?? otherTypes[id] ?? String(id);
}
