import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { replaceFile } from "../atomic.ts";
import { staysInside } from "./reference.ts";

/** Lies in the folder of each pulled model. */
const manifestFile = ".sparq-pull.json";

export interface PulledFile {
  /** In the model's folder, with "/". */
  readonly path: string;
  readonly bytes: number;
  /** "sha256:…" or, for small files on a hub, "git-sha1:…", which is the sum of a git blob. */
  readonly checksum: string;
}

/** Where a pulled model came from, and what belongs to it. */
export interface PullManifest {
  readonly name: string;
  /** A sentence part for people: the hub's address of the model, the catalogue's package, or a local path. */
  readonly source: string;
  /** The hub's commit; null for what comes from elsewhere. */
  readonly commit: string | null;
  /** The file to load, if it is not the folder as a whole. */
  readonly main: string | null;
  /** ISO 8601. */
  readonly pulledAt: string;
  readonly files: readonly PulledFile[];
}

export function writeManifest(folder: string, manifest: PullManifest): void {
  replaceFile(join(folder, manifestFile), `${JSON.stringify(manifest, null, 2)}\n`);
}

/** A folder's manifest; null if it has none that can be read, as models have that were put there by hand. */
export function readManifest(folder: string): PullManifest | null {
  try {
    const value = JSON.parse(readFileSync(join(folder, manifestFile), "utf8")) as PullManifest;
    const usable = typeof value.source === "string" && Array.isArray(value.files);
    return usable && (value.main === null || staysInside(value.main)) ? value : null;
  } catch {
    return null;
  }
}

/** A model's name as the name of a folder, and back. */
export const folderOf = (name: string): string => encodeURIComponent(name);

export function nameOf(folder: string): string {
  try {
    return decodeURIComponent(folder);
  } catch {
    return folder; // it was put there by hand
  }
}

/** Bytes of all files in a folder and below. */
export function bytesBelow(folder: string): number {
  if (!existsSync(folder)) return 0;
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false })?.size ?? 0)
    .reduce((sum, bytes) => sum + bytes, 0);
}
