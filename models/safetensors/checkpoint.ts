import { readdirSync, statSync } from "node:fs";
import { dirname, extname, join } from "node:path";
import { ModelError } from "../errors.ts";
import { readJsonFile } from "../json.ts";
import type { SafetensorsEntry } from "./header.ts";
import { openSafetensors, type SafetensorsFile } from "./reader.ts";

export const INDEX = "model.safetensors.index.json";
const WHOLE = "model.safetensors";

/** The tensors of a model, in one file or several. Close it. */
export interface Checkpoint {
  readonly folder: string;
  /** The weights' files. */
  readonly files: readonly SafetensorsFile[];
  /** The files that say what the weights are: the index, if there is one, and the weights' own. */
  readonly paths: readonly string[];
  readonly tensors: ReadonlyMap<string, CheckpointTensor>;
  close(): void;
}

export interface CheckpointTensor extends SafetensorsEntry {
  readonly file: SafetensorsFile;
}

/** Whether a folder has weights in safetensors. */
export function hasCheckpoint(folder: string): boolean {
  return readdirSync(folder).some((name) => name === INDEX || extname(name) === ".safetensors");
}

/**
 * Opens all of a checkpoint: a .safetensors file, or a folder with model.safetensors.index.json and the files that it names,
 * with model.safetensors, or with one other .safetensors file.
 * @throws ModelError naming the file and tensor: a file that is missing or damaged, a tensor that is not where the index says
 */
export function openCheckpoint(path: string): Checkpoint {
  const folder = statSync(path).isDirectory() ? path : dirname(path);
  const index = path === folder ? indexOf(folder) : undefined;
  const names = index ? [...new Set(index.values())].sort() : [path === folder ? onlyFile(folder) : path];
  const files: SafetensorsFile[] = [];
  const close = () => {
    for (const file of files) file.close();
  };
  try {
    for (const name of names) files.push(openSafetensors(index || path === folder ? join(folder, name) : name));
    const tensors = joined(files);
    if (index) checkIndex(index, tensors, folder);
    const paths = [...(index ? [join(folder, INDEX)] : []), ...files.map((file) => file.path)];
    return { folder, files, paths, tensors, close };
  } catch (error) {
    close();
    throw error;
  }
}

/** The index' file name for each tensor; undefined if there is no index. */
function indexOf(folder: string): Map<string, string> | undefined {
  const path = join(folder, INDEX);
  if (!statSync(path, { throwIfNoEntry: false })) return undefined;
  const { weight_map: map } = readJsonFile(path);
  if (typeof map !== "object" || map === null || Array.isArray(map)) {
    throw new ModelError("file_invalid", `${path}: weight_map must be an object`);
  }
  const entries = Object.entries(map);
  for (const [tensor, name] of entries) {
    // A checkpoint must not be able to name files elsewhere.
    if (typeof name !== "string" || !/^[^/\\]+\.safetensors$/.test(name)) {
      throw new ModelError(
        "file_invalid",
        `${path}: tensor ${JSON.stringify(tensor)} is in ${JSON.stringify(name)}, which is no .safetensors file beside it`,
      );
    }
  }
  for (const name of new Set(Object.values(map) as string[])) {
    if (statSync(join(folder, name), { throwIfNoEntry: false })?.isFile()) continue;
    const missing = entries.filter(([, file]) => file === name);
    throw new ModelError(
      "file_missing",
      `${join(folder, name)} is missing; ${path} has ${missing.length} of ${entries.length} tensors in it, ` +
        `"${missing[0]![0]}" the first`,
    );
  }
  return new Map(entries as [string, string][]);
}

function onlyFile(folder: string): string {
  const names = readdirSync(folder).filter((name) => extname(name) === ".safetensors");
  if (names.includes(WHOLE)) return WHOLE;
  if (names.length === 1) return names[0]!;
  throw new ModelError(
    "file_missing",
    names.length === 0
      ? `${folder} holds no .safetensors file`
      : `${folder} holds ${names.length} .safetensors files (${names.sort().slice(0, 4).join(", ")}) and no ${INDEX}`,
  );
}

function joined(files: readonly SafetensorsFile[]): Map<string, CheckpointTensor> {
  const tensors = new Map<string, CheckpointTensor>();
  for (const file of files) {
    for (const [name, entry] of file.tensors) {
      const other = tensors.get(name);
      if (other) {
        throw new ModelError("file_invalid", `tensor "${name}" is in ${other.file.path} and in ${file.path}`);
      }
      tensors.set(name, { ...entry, file });
    }
  }
  return tensors;
}

function checkIndex(
  index: ReadonlyMap<string, string>,
  tensors: ReadonlyMap<string, CheckpointTensor>,
  folder: string,
): void {
  for (const [name, file] of index) {
    const found = tensors.get(name)?.file.path;
    if (found === join(folder, file)) continue;
    throw new ModelError(
      "file_invalid",
      `${join(folder, INDEX)} has tensor "${name}" in ${file}; it is ${found === undefined ? "in none of its files" : `in ${found}`}`,
    );
  }
}
