import { writeFileSync } from "node:fs";
import { type GGUFTypedMetadata, GGUFValueType, serializeGgufMetadata } from "@huggingface/gguf";

export interface TensorToWrite {
  readonly name: string;
  /** ggml's number of the type. */
  readonly type: number;
  /** Outermost first. */
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

export type MetadataToWrite = Readonly<
  Record<string, number | boolean | string | readonly string[] | readonly number[]>
>;

const ALIGNMENT = 32;

/** A GGUF file of version 3. Integers are written as uint32, other numbers as float32. */
export function ggufBytes(metadata: MetadataToWrite, tensors: readonly TensorToWrite[]): Buffer {
  const typed = {
    version: { value: 3, type: GGUFValueType.UINT32 },
    tensor_count: { value: BigInt(tensors.length), type: GGUFValueType.UINT64 },
    kv_count: { value: BigInt(Object.keys(metadata).length), type: GGUFValueType.UINT64 },
    ...Object.fromEntries(Object.entries(metadata).map(([key, value]) => [key, typedValue(value)])),
  } as GGUFTypedMetadata;
  // The library pads after the metadata, where the list of tensors begins; alignment 1 leaves the padding to us.
  const header = Buffer.from(serializeGgufMetadata(typed, { alignment: 1 }));
  let offset = 0;
  const infos = tensors.map((tensor) => {
    const info = tensorInfo(tensor, offset);
    offset += padded(tensor.bytes.length);
    return info;
  });
  const start = Buffer.concat([header, ...infos]);
  const data = tensors.map(({ bytes }) => Buffer.concat([bytes, Buffer.alloc(padded(bytes.length) - bytes.length)]));
  return Buffer.concat([start, Buffer.alloc(padded(start.length) - start.length), ...data]);
}

export function writeGguf(path: string, metadata: MetadataToWrite, tensors: readonly TensorToWrite[]): string {
  writeFileSync(path, ggufBytes(metadata, tensors));
  return path;
}

function typedValue(value: MetadataToWrite[string]): { value: unknown; type: GGUFValueType; subType?: GGUFValueType } {
  if (Array.isArray(value)) {
    return { value, type: GGUFValueType.ARRAY, subType: scalarType(value[0] as number | string) };
  }
  return { value, type: scalarType(value as number | string | boolean) };
}

function scalarType(value: number | string | boolean): GGUFValueType {
  if (typeof value === "string") return GGUFValueType.STRING;
  if (typeof value === "boolean") return GGUFValueType.BOOL;
  return Number.isInteger(value) ? GGUFValueType.UINT32 : GGUFValueType.FLOAT32;
}

function tensorInfo({ name, shape, type }: TensorToWrite, offset: number): Buffer {
  const text = Buffer.from(name);
  const info = Buffer.alloc(8 + text.length + 4 + 8 * shape.length + 4 + 8);
  let at = info.writeBigUInt64LE(BigInt(text.length), 0);
  at += text.copy(info, at);
  at = info.writeUInt32LE(shape.length, at);
  for (const size of [...shape].reverse()) at = info.writeBigUInt64LE(BigInt(size), at);
  at = info.writeUInt32LE(type, at);
  info.writeBigUInt64LE(BigInt(offset), at);
  return info;
}

function padded(length: number): number {
  return Math.ceil(length / ALIGNMENT) * ALIGNMENT;
}
