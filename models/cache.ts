import { createHash } from "node:crypto";
import {
  accessSync,
  constants,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { ModelError, messageOf } from "./errors.ts";
import { userCacheDir } from "./registry.ts";
import type { ImportReport, LoadModelOptions } from "./types.ts";

/** Raise when the canonical graph or the report changes: graphs made by other versions are made anew. */
export const FORMAT_VERSION = 6;

/** File names inside a prepared folder; `weightsFile` only if the graph keeps its weights outside. */
export const graphFile = "model.onnx";
export const weightsFile = "weights.bin";
const manifestFile = "sparq.json";

export interface PreparedGraph {
  readonly graphPath: string;
  readonly report: ImportReport;
  readonly cached: boolean;
}

export interface PrepareRequest {
  /** The source's own folder: the prepared graph goes into its `.sparq/` if that can be written. */
  readonly folder: string;
  /** Tells sources in one folder apart, e.g. the model's file name. */
  readonly label: string;
  /**
   * Files that the graph is made from, as far as known before reading them; the report's files join them. Their sizes and
   * times decide whether a prepared graph still fits: hashing gigabytes at every start would cost seconds.
   */
  readonly files: readonly string[];
  readonly options: LoadModelOptions;
  /** Whether a prepared graph is of the kind that is asked for; any is when left out. */
  readonly fits?: (report: ImportReport) => boolean;
  /** Writes `graphFile` (and `weightsFile`) into an empty folder. */
  readonly build: (folder: string) => Promise<ImportReport>;
}

interface SourceFile {
  readonly path: string;
  readonly bytes: number;
  readonly modified: number;
}

interface Manifest {
  readonly format: number;
  readonly sources: readonly SourceFile[];
  readonly files: readonly { readonly name: string; readonly bytes: number; readonly sha256?: string }[];
  readonly report: ImportReport;
}

/**
 * The prepared graph of a source: the one on disk if it fits, else a new one, which appears whole or not at all.
 * A damaged one is remade. Throws what `build` throws, and ModelError when no cache folder can be written.
 */
export async function prepareGraph(request: PrepareRequest): Promise<PreparedGraph> {
  const folders = candidateFolders(request);
  if (!request.options.force) {
    for (const folder of folders) {
      const report = readPrepared(folder, request);
      if (report) return { graphPath: join(folder, graphFile), report, cached: true };
    }
  }
  const folder = firstWritable(folders);
  removeAbandoned(folder);
  const temporary = temporaryName(folder);
  try {
    mkdirSync(temporary, { recursive: true });
    const report = await request.build(temporary);
    const manifest = manifestOf(temporary, request.files, report);
    writeFileSync(join(temporary, manifestFile), JSON.stringify(manifest, null, 1));
    // Another process may have been faster, and be using its graph already: it is as good.
    if (request.options.force || !readPrepared(folder, request)) publish(temporary, folder);
    return { graphPath: join(folder, graphFile), report, cached: false };
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

/** Beside the model, and in the user's cache under a name that the model's path makes unique. */
function candidateFolders({ folder, label, options }: PrepareRequest): string[] {
  const cache = options.cacheDir ?? userCacheDir();
  const unique = createHash("sha256").update(resolve(folder)).digest("hex").slice(0, 12);
  return [join(folder, ".sparq", label), join(cache, "graphs", `${basename(folder)}-${label}-${unique}`)];
}

function firstWritable(folders: readonly string[]): string {
  const reasons: string[] = [];
  for (const folder of folders) {
    const parent = dirname(folder);
    try {
      mkdirSync(parent, { recursive: true });
      accessSync(parent, constants.W_OK);
      return folder;
    } catch (error) {
      reasons.push(messageOf(error));
    }
  }
  throw new ModelError("file_missing", `no folder for the prepared graph can be written: ${reasons.join("; ")}`);
}

function sourceFile(path: string): SourceFile {
  const { size, mtimeMs } = statSync(path);
  return { path: resolve(path), bytes: size, modified: mtimeMs };
}

function manifestOf(folder: string, known: readonly string[], report: ImportReport): Manifest {
  const files = [graphFile, weightsFile].flatMap((name) => {
    const stat = statSync(join(folder, name), { throwIfNoEntry: false });
    if (!stat) return [];
    // The graph is small when its weights are outside; weights are only measured.
    return [{ name, bytes: stat.size, ...(name === graphFile ? { sha256: fileHash(join(folder, name)) } : {}) }];
  });
  const paths = new Set([...known, ...report.files.map(({ path }) => path)].map((path) => resolve(path)));
  return { format: FORMAT_VERSION, sources: [...paths].map(sourceFile), files, report };
}

function fileHash(path: string): string {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}

/** The report of a prepared folder that is complete, undamaged and made from the same sources; else undefined. */
function readPrepared(
  folder: string,
  { files: known, fits: suits = () => true }: PrepareRequest,
): ImportReport | undefined {
  try {
    const manifest = JSON.parse(readFileSync(join(folder, manifestFile), "utf8")) as Manifest;
    const { format, sources, files, report } = manifest;
    const fits =
      format === FORMAT_VERSION &&
      known.every((path) => sources.some((source) => source.path === resolve(path))) &&
      sources.every(({ path, bytes, modified }) => {
        const now = sourceFile(path);
        return now.bytes === bytes && now.modified === modified;
      });
    const intact = files.every(({ name, bytes, sha256 }) => {
      const path = join(folder, name);
      return statSync(path).size === bytes && (sha256 === undefined || fileHash(path) === sha256);
    });
    return fits && intact && suits(report) && files.some(({ name }) => name === graphFile) ? report : undefined;
  } catch {
    // Absent or unreadable is the same as not fitting: it is made anew.
    return undefined;
  }
}

let counter = 0;

/** A name beside `folder` that no other process or call uses. */
function temporaryName(folder: string): string {
  counter += 1;
  return `${folder}.${process.pid}.${counter}.tmp`;
}

/** Removes what processes left behind that died while they prepared this graph, an hour ago or more. */
function removeAbandoned(folder: string): void {
  const parent = dirname(folder);
  for (const name of readdirSync(parent)) {
    if (!name.startsWith(`${basename(folder)}.`) || !name.endsWith(".tmp")) continue;
    const path = join(parent, name);
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat && Date.now() - stat.mtimeMs > 3_600_000) rmSync(path, { recursive: true, force: true });
  }
}

/** Renames a finished folder into the place of what does not fit any more. */
function publish(temporary: string, folder: string): void {
  const old = temporaryName(folder);
  try {
    renameSync(folder, old);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  try {
    renameSync(temporary, folder);
  } finally {
    rmSync(old, { recursive: true, force: true });
  }
}
