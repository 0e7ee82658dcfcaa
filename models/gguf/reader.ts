import { closeSync, fstatSync, readSync } from "node:fs";
import { ModelError } from "../errors.ts";
import { Fields } from "../fields.ts";
import { openModelFile, readRange } from "../file-range.ts";
import { Cursor } from "./cursor.ts";
import { type Header, readHeader, type TensorEntry } from "./header.ts";
import { isPart, joinParts } from "./parts.ts";
import { supportedTypes, type TensorType, tensorTypeOf, typeNameOf } from "./types.ts";

/** One tensor's entry. Only its place is known; `GgufFile.read` fetches the bytes. */
export interface GgufTensor {
  readonly name: string;
  /** The file that it is in. */
  readonly path: string;
  readonly type: TensorType;
  /** Outermost first, as in ONNX and torch (GGUF itself lists the innermost first). */
  readonly shape: readonly number[];
  /** Byte offset in the file, and length. */
  readonly offset: number;
  readonly bytes: number;
}

/** A file of a model. */
export interface GgufPart {
  readonly path: string;
  readonly bytes: number;
}

/** An open model, in one GGUF file or several: metadata and tensor entries in memory, tensor data read on demand. Close it. */
export interface GgufFile {
  /** Of the first part, which has the metadata. */
  readonly path: string;
  /** Of all parts. */
  readonly bytes: number;
  readonly parts: readonly GgufPart[];
  /** Metadata by key; errors of its readers name the file and the key. */
  readonly metadata: Fields;
  readonly tensors: ReadonlyMap<string, GgufTensor>;
  /** The tensor's bytes as they are in the file. Throws ModelError "file_truncated" if the file has shrunk. */
  read(tensor: GgufTensor): Uint8Array;
  close(): void;
}

const MAGIC = "GGUF";
/** Magic, version, number of tensors, number of metadata entries. */
const HEADER_BYTES = 24;
const COUNTS_OFFSET = 8;

/**
 * Opens a GGUF file (version 2 or 3, little-endian), with the others if it is one of several parts, and checks that every tensor's data is
 * inside its file.
 * @throws ModelError file_missing, file_truncated, file_invalid or unsupported_graph (a tensor type that is not known),
 *   naming the file, the tensor and the numbers
 */
export async function openGguf(path: string): Promise<GgufFile> {
  const file = openFile(path);
  return isPart(file) ? joinParts(file, openFile) : file;
}

function openFile(path: string): GgufFile {
  const descriptor = openModelFile(path);
  try {
    const bytes = fstatSync(descriptor).size;
    checkHeader(path, descriptor, bytes);
    const header = readHeader(new Cursor(path, descriptor, bytes, COUNTS_OFFSET));
    const tensors = placeTensors(path, bytes, header);
    return {
      path,
      bytes,
      parts: [{ path, bytes }],
      metadata: new Fields(header.metadata, path),
      tensors,
      read: ({ name, offset, bytes: size }) => readRange(path, descriptor, offset, size, `tensor "${name}"`),
      close: () => closeSync(descriptor),
    };
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

function checkHeader(path: string, descriptor: number, bytes: number): void {
  const header = Buffer.alloc(HEADER_BYTES);
  const read = readSync(descriptor, header, 0, HEADER_BYTES, 0);
  const magic = header.subarray(0, 4);
  if (read < 4 || magic.toString("latin1") !== MAGIC) {
    const found = read === 0 ? "nothing" : magic.subarray(0, read).toString("hex");
    throw new ModelError("file_invalid", `${path} (${bytes} bytes) is not a GGUF file: it begins with ${found} (hex)`);
  }
  if (read < HEADER_BYTES) {
    throw new ModelError("file_truncated", `${path} is truncated: ${bytes} bytes, a GGUF header has ${HEADER_BYTES}`);
  }
  const version = header.readUInt32LE(4);
  if (version === 2 || version === 3) return;
  const bigEndian = header.readUInt32BE(4);
  const reason = bigEndian === 2 || bigEndian === 3 ? "it is big-endian" : `its version is ${version}`;
  throw new ModelError("file_invalid", `${path}: ${reason}; supported are little-endian versions 2 and 3`);
}

function placeTensors(path: string, bytes: number, header: Header): Map<string, GgufTensor> {
  return new Map(header.tensors.map((entry) => [entry.name, placeTensor(path, bytes, header.dataOffset, entry)]));
}

function placeTensor(path: string, bytes: number, dataOffset: number, entry: TensorEntry): GgufTensor {
  const { name, dimensions } = entry;
  const type = tensorTypeOf(entry.type);
  if (type === undefined) {
    throw new ModelError(
      "unsupported_graph",
      `${path}: tensor "${name}" has type ${typeNameOf(entry.type)}; supported: ${supportedTypes.join(", ")}`,
    );
  }
  const shape = [...dimensions].reverse();
  const columns = shape.at(-1) ?? 1;
  if (columns % type.blockSize !== 0) {
    throw new ModelError(
      "file_invalid",
      `${path}: tensor "${name}" has rows of ${columns} elements, ${type.name} needs a multiple of ${type.blockSize}`,
    );
  }
  const elements = shape.reduce((product, size) => product * size, 1);
  const length = (elements / type.blockSize) * type.blockBytes;
  const offset = dataOffset + entry.offset;
  if (offset + length > bytes) {
    throw new ModelError(
      "file_truncated",
      `${path} is truncated: it has ${bytes} bytes, tensor "${name}" is at ${offset} to ${offset + length}`,
    );
  }
  return { name, path, type, shape, offset, bytes: length };
}
