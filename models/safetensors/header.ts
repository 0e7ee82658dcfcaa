/**
 * The header of a safetensors file: 8 bytes with its length, then JSON that gives each tensor's type, shape and place. Nothing
 * in it is believed before it is checked against the file's size, and nothing is allocated by what it says.
 */
import { ModelError, messageOf } from "../errors.ts";

/** Bits of an element. Types that are in files but not here are told apart in errors only. */
const typeBits: Readonly<Record<string, number>> = {
  F64: 64,
  F32: 32,
  F16: 16,
  BF16: 16,
  F8_E4M3: 8,
  F8_E5M2: 8,
  I64: 64,
  I32: 32,
  I16: 16,
  I8: 8,
  U64: 64,
  U32: 32,
  U16: 16,
  U8: 8,
  BOOL: 8,
};

/** One tensor's entry; the bytes are fetched when they are needed. */
export interface SafetensorsEntry {
  readonly name: string;
  readonly dtype: string;
  /** Outermost first. */
  readonly shape: readonly number[];
  /** Byte offset in the file, and length. */
  readonly offset: number;
  readonly bytes: number;
}

/** Bytes before the JSON. */
export const LENGTH_BYTES = 8;
/** The format's own limit. */
export const MOST_HEADER_BYTES = 100_000_000;

/**
 * The JSON's length, from a file's first bytes.
 * @param start up to 8 bytes from the beginning of the file
 * @param fileBytes the file's size
 */
export function headerLength(start: Uint8Array, path: string, fileBytes: number): number {
  if (start.length < LENGTH_BYTES) {
    throw new ModelError(
      "file_truncated",
      `${path} is truncated: ${fileBytes} bytes, a safetensors file begins with ${LENGTH_BYTES}`,
    );
  }
  const length = new DataView(start.buffer, start.byteOffset).getBigUint64(0, true);
  if (length > MOST_HEADER_BYTES || length < 2) {
    throw new ModelError(
      "file_invalid",
      `${path} is no safetensors file: its header would have ${length} bytes; 2 to ${MOST_HEADER_BYTES} are possible`,
    );
  }
  if (length > fileBytes - LENGTH_BYTES) {
    throw new ModelError(
      "file_truncated",
      `${path} is truncated: it has ${fileBytes} bytes, its header ends at ${LENGTH_BYTES + Number(length)}`,
    );
  }
  return Number(length);
}

/**
 * The tensors that a header names, in the order of their data. They must fill the file from the header's end to its own, one
 * after the other without holes, as the format demands: so no two share bytes, and none is outside.
 */
export function parseHeader(json: Uint8Array, path: string, fileBytes: number): SafetensorsEntry[] {
  const data = LENGTH_BYTES + json.length;
  const entries = Object.entries(headerObject(json, path))
    .filter(([name]) => name !== "__metadata__")
    .map(([name, value]) => parseEntry(name, value, path, data))
    .sort((a, b) => a.offset - b.offset || a.bytes - b.bytes);
  let end = data;
  for (const { name, offset, bytes } of entries) {
    if (offset !== end) {
      const problem = offset < end ? "overlaps the tensor before it" : "leaves a hole before it";
      throw new ModelError(
        "file_invalid",
        `${path}: tensor "${name}" ${problem}: it begins at byte ${offset}, the data so far ends at ${end}`,
      );
    }
    end = offset + bytes;
    if (end > fileBytes) {
      throw new ModelError(
        "file_truncated",
        `${path} is truncated: it has ${fileBytes} bytes, tensor "${name}" is at ${offset} to ${end}`,
      );
    }
  }
  if (end !== fileBytes) {
    throw new ModelError("file_invalid", `${path} has ${fileBytes} bytes, its tensors end at ${end}`);
  }
  return entries;
}

function headerObject(json: Uint8Array, path: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(json));
  } catch (error) {
    throw new ModelError("file_invalid", `${path}: its header is no valid JSON: ${messageOf(error)}`, { cause: error });
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new ModelError("file_invalid", `${path}: its header must be a JSON object`);
}

function parseEntry(name: string, value: unknown, path: string, data: number): SafetensorsEntry {
  const refuse = (problem: string): never => {
    throw new ModelError("file_invalid", `${path}: tensor ${JSON.stringify(name)} ${problem}`);
  };
  if (typeof value !== "object" || value === null) return refuse("has no entry that is an object");
  const { dtype, shape, data_offsets: offsets } = value as Record<string, unknown>;
  const bits = typeof dtype === "string" && Object.hasOwn(typeBits, dtype) ? typeBits[dtype] : undefined;
  if (bits === undefined) return refuse(`has dtype ${shown(dtype)}; known are ${Object.keys(typeBits).join(", ")}`);
  if (!isSizes(shape)) return refuse(`has shape ${shown(shape)}; it must be a list of integers >= 0`);
  if (!isSizes(offsets) || offsets.length !== 2 || offsets[0]! > offsets[1]!) {
    return refuse(`has data_offsets ${shown(offsets)}; they must be two integers >= 0, the first not the larger`);
  }
  const [begin, end] = offsets as [number, number];
  const bytes = shape.reduce((product, size) => product * size, bits / 8);
  // Past 2^53 the product is rounded, and too large for any file anyhow.
  if (bytes !== end - begin) {
    return refuse(`is ${dtype} [${shape.join(", ")}], so ${bytes} bytes; its data_offsets give ${end - begin}`);
  }
  return { name, dtype: dtype as string, shape, offset: data + begin, bytes };
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

/** A value of the file, cut where it is long. */
function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? "missing";
  return text.length > 80 ? `${text.slice(0, 80)}...` : text;
}
