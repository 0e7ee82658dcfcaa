import { ModelError } from "../errors.ts";
import type { Cursor } from "./cursor.ts";

/** What comes before the tensors' data. */
export interface Header {
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly tensors: readonly TensorEntry[];
  /** Where the tensors' data begins. */
  readonly dataOffset: number;
}

export interface TensorEntry {
  readonly name: string;
  /** ggml's number. */
  readonly type: number;
  /** Innermost first. */
  readonly dimensions: readonly number[];
  /** From `Header.dataOffset`. */
  readonly offset: number;
}

/** Far above what models have, and little enough to be held. */
const MOST_ENTRIES = 100_000;
const MOST_LIST_ELEMENTS = 4_000_000;
const MOST_DIMENSIONS = 4;
const DEPTH_OF_LISTS = 4;
const LONGEST_NAME = 65_535;

const DEFAULT_ALIGNMENT = 32;

/** Kinds of metadata values, by number. `least` is the fewest bytes of a value. */
const kinds: readonly { readonly least: number; readonly read: (cursor: Cursor, what: string) => unknown }[] = [
  { least: 1, read: (cursor, what) => cursor.uint8(what) },
  { least: 1, read: (cursor, what) => cursor.int8(what) },
  { least: 2, read: (cursor, what) => cursor.uint16(what) },
  { least: 2, read: (cursor, what) => cursor.int16(what) },
  { least: 4, read: (cursor, what) => cursor.uint32(what) },
  { least: 4, read: (cursor, what) => cursor.int32(what) },
  { least: 4, read: (cursor, what) => cursor.float32(what) },
  { least: 1, read: (cursor, what) => cursor.uint8(what) !== 0 },
  { least: 8, read: (cursor, what) => cursor.string(what) },
  { least: 12, read: () => undefined },
  { least: 8, read: (cursor, what) => cursor.uint64(what) },
  { least: 8, read: (cursor, what) => cursor.int64(what) },
  { least: 8, read: (cursor, what) => cursor.float64(what) },
];
const LIST = 9;

/**
 * Reads metadata and the list of tensors, `cursor` being behind magic and version. Counts and lengths are compared with
 * what is left of the file before anything is made for them.
 * @throws ModelError "file_truncated" or "file_invalid", naming the key or tensor and the numbers
 */
export function readHeader(cursor: Cursor): Header {
  const tensorCount = entryCount(cursor, "the number of tensors", 24);
  const keyCount = entryCount(cursor, "the number of metadata entries", 13);
  const metadata = new Map<string, unknown>();
  const budget = { elements: MOST_LIST_ELEMENTS };
  for (let i = 0; i < keyCount; i++) {
    const key = cursor.string(`the key of metadata entry ${i} of ${keyCount}`, LONGEST_NAME);
    if (metadata.has(key)) refuse(cursor, `metadata has ${JSON.stringify(key)} twice`);
    metadata.set(key, readValue(cursor, key, cursor.uint32(`the type of ${key}`), budget, 0));
  }
  const tensors: TensorEntry[] = [];
  const names = new Set<string>();
  for (let i = 0; i < tensorCount; i++) {
    const tensor = readTensor(cursor, i, tensorCount);
    if (names.has(tensor.name)) refuse(cursor, `there are two tensors "${tensor.name}"`);
    names.add(tensor.name);
    tensors.push(tensor);
  }
  const alignment = alignmentOf(cursor, metadata.get("general.alignment") ?? DEFAULT_ALIGNMENT);
  const dataOffset = Math.ceil(cursor.offset / alignment) * alignment;
  return { metadata: Object.fromEntries(metadata), tensors, dataOffset };
}

function refuse(cursor: Cursor, what: string): never {
  throw new ModelError("file_invalid", `${cursor.path} (${cursor.bytes} bytes) is damaged: ${what}`);
}

/** A count of entries that take `least` bytes each. */
function entryCount(cursor: Cursor, what: string, least: number): number {
  const count = cursor.uint64(what);
  cursor.need(count * least, `${what}, ${count}: that many`);
  if (count > MOST_ENTRIES) refuse(cursor, `${what} is ${count}, at most ${MOST_ENTRIES} are read`);
  return count;
}

function readValue(cursor: Cursor, key: string, type: number, budget: { elements: number }, depth: number): unknown {
  const kind = kinds[type];
  if (!kind) refuse(cursor, `the value of ${key} has type ${type}, which does not exist`);
  return type === LIST ? readList(cursor, key, budget, depth) : kind.read(cursor, `the value of ${key}`);
}

function readList(cursor: Cursor, key: string, budget: { elements: number }, depth: number): unknown[] {
  const what = `the list ${key}`;
  const type = cursor.uint32(what);
  const count = cursor.uint64(what);
  const kind = kinds[type];
  if (!kind) refuse(cursor, `${what} is of type ${type}, which does not exist`);
  cursor.need(count * kind.least, `${what} of ${count} elements`);
  budget.elements -= count;
  if (budget.elements < 0) {
    refuse(cursor, `${what} has ${count} elements, which with those before are more than ${MOST_LIST_ELEMENTS}`);
  }
  if (depth === DEPTH_OF_LISTS) refuse(cursor, `${what} has lists in lists, more than ${DEPTH_OF_LISTS} deep`);
  const list: unknown[] = [];
  for (let i = 0; i < count; i++) list.push(readValue(cursor, key, type, budget, depth + 1));
  return list;
}

function readTensor(cursor: Cursor, index: number, count: number): TensorEntry {
  const name = cursor.string(`the name of tensor ${index} of ${count}`, LONGEST_NAME);
  const what = `tensor "${name}"`;
  const rank = cursor.uint32(what);
  if (rank > MOST_DIMENSIONS) refuse(cursor, `${what} has ${rank} dimensions, at most ${MOST_DIMENSIONS} are read`);
  const dimensions = Array.from({ length: rank }, () => cursor.uint64(what));
  if (dimensions.includes(0)) refuse(cursor, `${what} has the shape [${[...dimensions].reverse().join(", ")}]`);
  return { name, dimensions, type: cursor.uint32(what), offset: cursor.uint64(what) };
}

function alignmentOf(cursor: Cursor, value: unknown): number {
  if (Number.isInteger(value) && [8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096].includes(value as number)) {
    return value as number;
  }
  return refuse(cursor, `general.alignment is ${JSON.stringify(value)}; powers of two from 8 to 4096 are known`);
}
