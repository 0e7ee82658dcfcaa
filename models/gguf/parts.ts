import { existsSync } from "node:fs";
import { basename } from "node:path";
import { ModelError } from "../errors.ts";
import { partName, partPath, partPaths } from "./part-names.ts";
import type { GgufFile, GgufTensor } from "./reader.ts";

const NUMBER = "split.no";
const COUNT = "split.count";
const TENSORS = "split.tensors.count";

/** Whether a file says that it is one of several. */
export function isPart({ metadata }: GgufFile): boolean {
  return metadata.has(COUNT) && metadata.values[COUNT] !== 1;
}

/**
 * All of a model of which `opened` is a part: its metadata is the first part's, its tensors are those of all. Closes what it has opened, and
 * `opened`, if they do not make a model.
 * @throws ModelError naming the files and the numbers: a part that is missing, or says something else than its name or the others
 */
export function joinParts(opened: GgufFile, open: (path: string) => GgufFile): GgufFile {
  const parts: GgufFile[] = [];
  const close = () => {
    for (const part of new Set([opened, ...parts])) part.close();
  };
  try {
    for (const path of pathsOf(opened)) parts.push(path === opened.path ? opened : open(path));
    for (const [i, part] of parts.entries()) checkPart(part, i, parts[0]!);
    const tensors = joined(parts);
    const byPath = new Map(parts.map((part) => [part.path, part]));
    return {
      path: parts[0]!.path,
      bytes: parts.reduce((sum, { bytes }) => sum + bytes, 0),
      parts: parts.flatMap((part) => part.parts),
      metadata: parts[0]!.metadata,
      tensors,
      read: (tensor) => byPath.get(tensor.path)!.read(tensor),
      close,
    };
  } catch (error) {
    close();
    throw error;
  }
}

function pathsOf({ path, metadata }: GgufFile): string[] {
  const count = metadata.count(COUNT);
  const number = metadata.values[NUMBER];
  const named = partName(path);
  if (!Number.isInteger(number) || (number as number) < 0 || (number as number) >= count) {
    metadata.refuse(NUMBER, `parts are counted from 0, and ${COUNT} is ${count}`);
  }
  if (!named || named.count !== count || named.number !== (number as number) + 1) {
    const name = basename(partPath({ stem: named?.stem ?? "name", number: (number as number) + 1, count }));
    throw new ModelError(
      "file_invalid",
      `${path} is part ${(number as number) + 1} of ${count} by its metadata: the others are found if it is called ${name}`,
    );
  }
  const paths = partPaths(path);
  const missing = paths.filter((part) => !existsSync(part));
  if (missing.length === 0) return paths;
  throw new ModelError(
    "file_missing",
    `${path} is one of ${count} parts, of which ${missing.length} are missing: ${missing.slice(0, 5).join(", ")}`,
  );
}

/** Compares what a part says with its place and with the first. */
function checkPart({ path, metadata }: GgufFile, index: number, first: GgufFile): void {
  const expected = {
    [NUMBER]: index,
    [COUNT]: first.metadata.values[COUNT],
    [TENSORS]: first.metadata.values[TENSORS],
  };
  for (const [key, value] of Object.entries(expected)) {
    const found = metadata.values[key];
    if (found === value) continue;
    throw new ModelError(
      "file_invalid",
      `${path}: ${key} is ${JSON.stringify(found) ?? "missing"}; by ${key === NUMBER ? "the name" : first.path} it is ${value ?? "missing"}`,
    );
  }
  // Other parts say no more than this, or the same as the first: of another model they would not.
  for (const [key, found] of Object.entries(metadata.values)) {
    const value = first.metadata.values[key];
    if (key === NUMBER || value === undefined || JSON.stringify(found) === JSON.stringify(value)) continue;
    throw new ModelError(
      "file_invalid",
      `${path}: ${key} is ${shown(found)}, in ${first.path} it is ${shown(value)}: they are no parts of one model`,
    );
  }
}

function joined(parts: readonly GgufFile[]): Map<string, GgufTensor> {
  const tensors = new Map<string, GgufTensor>();
  for (const tensor of parts.flatMap((part) => [...part.tensors.values()])) {
    const other = tensors.get(tensor.name);
    if (other) {
      throw new ModelError("file_invalid", `tensor "${tensor.name}" is in ${other.path} and in ${tensor.path}`);
    }
    tensors.set(tensor.name, tensor);
  }
  const promised = parts[0]!.metadata.values[TENSORS];
  if (promised !== undefined && promised !== tensors.size) {
    throw new ModelError(
      "file_invalid",
      `${parts[0]!.path}: ${TENSORS} is ${promised}, its ${parts.length} parts have ${tensors.size}`,
    );
  }
  return tensors;
}

function shown(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 60)}...` : text;
}
