import { existsSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { ModelError } from "../errors.ts";
import { builtinModels, listModels, pulledModelsDir, userCacheDir } from "../registry.ts";
import { bytesBelow, folderOf, nameOf, readManifest } from "./manifest.ts";
import { stagingPrefix } from "./store.ts";

/** A model that can be used by its name, or one whose download was not finished. */
export interface StoredModel {
  readonly name: string;
  /** "built-in", a hub's address with the commit, "catalogue (…)", or a path. */
  readonly source: string;
  /** What it takes on disk, prepared graphs beside it included. */
  readonly bytes: number;
  /** ISO 8601; null for what was not pulled. */
  readonly pulledAt: string | null;
  readonly path: string;
  readonly state: "built-in" | "pulled" | "unfinished";
}

export function listStored(cacheDir: string = userCacheDir()): StoredModel[] {
  const models = pulledModelsDir(cacheDir);
  const whole = listModels(cacheDir).map(({ name, path, origin }): StoredModel => {
    if (origin === "builtin") {
      return { name, source: "built-in", bytes: bytesBelow(path), pulledAt: null, path, state: "built-in" };
    }
    const folder = join(models, folderOf(name));
    // A folder that was put there by hand may have a name that folderOf does not give.
    const own = existsSync(folder) ? folder : join(models, name);
    const manifest = readManifest(own);
    const commit = manifest?.commit ? ` at ${manifest.commit.slice(0, 12)}` : "";
    return {
      name,
      source: manifest ? `${manifest.source}${commit}` : "put there by hand",
      bytes: bytesBelow(own),
      pulledAt: manifest?.pulledAt ?? null,
      path,
      state: "pulled",
    };
  });
  return [...whole, ...listUnfinished(models)];
}

function listUnfinished(models: string): StoredModel[] {
  const folders = existsSync(models) ? readdirSync(models).filter((name) => name.startsWith(stagingPrefix)) : [];
  return folders.map((folder) => {
    const path = join(models, folder);
    const name = nameOf(folder.slice(stagingPrefix.length));
    const pulledAt = statSync(path).mtime.toISOString();
    return { name, source: "a download", bytes: bytesBelow(path), pulledAt, path, state: "unfinished" };
  });
}

/**
 * Removes a pulled model by its full name, what an unfinished download left of it too. Returns the bytes that were freed.
 * @throws ModelError "model_not_found" naming what there is
 */
export function removeStored(name: string, cacheDir: string = userCacheDir()): number {
  if (builtinModels.includes(name)) throw new ModelError("model_not_found", `${name} is built in and stays`);
  const models = pulledModelsDir(cacheDir);
  const pulled = listStored(cacheDir).filter(({ state }) => state !== "built-in");
  const meant = pulled.filter((model) => model.name === name);
  if (meant.length === 0) {
    const names = pulled.map((model) => model.name).join(", ") || "none";
    throw new ModelError("model_not_found", `no pulled model "${name}"; there is ${names}`);
  }
  const folders = readdirSync(models).filter((folder) => nameOf(folder.replace(stagingPrefix, "")) === name);
  for (const folder of folders) {
    // Its name is gone at once, however long the rest takes.
    const doomed = join(models, `.removing-${process.pid}`);
    renameSync(join(models, folder), doomed);
    rmSync(doomed, { recursive: true, force: true });
  }
  return meant.reduce((sum, { bytes }) => sum + bytes, 0);
}
