import { existsSync, readdirSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { basename, dirname, extname, join, resolve } from "node:path";
import { packageRoot } from "../attention/root.ts";
import { ModelError } from "./errors.ts";
import { ggufStem } from "./gguf/part-names.ts";
import { catalogue } from "./pull/catalogue.ts";
import { nameOf, readManifest } from "./pull/manifest.ts";
import { hasTag, parseReference } from "./pull/reference.ts";

/** Models that come with the repository, in models/builtin/. */
export const builtinModels: readonly string[] = ["tiny-llama", "tiny-pythia"];

/** A model's place on disk and the name it is served under. */
export interface ModelLocation {
  readonly name: string;
  /** Absolute path of a folder or file. */
  readonly path: string;
  readonly origin: "builtin" | "pulled" | "path";
}

/** Where downloads and graphs go that cannot lie beside their model: $SPARQ_CACHE, else ~/.cache/sparq. */
export function userCacheDir(): string {
  return resolve(process.env.SPARQ_CACHE || join(homedir(), ".cache", "sparq"));
}

/** The folder of pulled models: one subfolder each, its name is the model's (see folderOf). */
export function pulledModelsDir(cacheDir: string = userCacheDir()): string {
  return join(cacheDir, "models");
}

/** Built-in models that are there, then pulled ones by name. */
export function listModels(cacheDir: string = userCacheDir()): ModelLocation[] {
  const builtin = builtinModels.map((name): ModelLocation => {
    return { name, path: join(packageRoot(), "models", "builtin", name), origin: "builtin" };
  });
  return [...builtin.filter(({ path }) => existsSync(path)), ...listPulled(cacheDir)];
}

/** The models that were pulled, or put into the cache folder by hand. */
export function listPulled(cacheDir: string = userCacheDir()): ModelLocation[] {
  const models = pulledModelsDir(cacheDir);
  const folders = existsSync(models) ? readdirSync(models).filter((name) => !name.startsWith(".")) : [];
  return folders
    .filter((folder) => statSync(join(models, folder)).isDirectory())
    .map((folder): ModelLocation => {
      const path = join(models, folder);
      return { name: nameOf(folder), path: join(path, readManifest(path)?.main ?? ""), origin: "pulled" };
    })
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/**
 * A pulled model by its name, or by a reference that fits one of them alone: "org/name" for "org/name:model-Q4_K_M.gguf",
 * "org/name:Q4_K_M" for both. It keeps the name that it was asked for by.
 * @throws ModelError "model_not_found" for a reference that fits several
 */
export function locatePulled(name: string, cacheDir: string = userCacheDir()): ModelLocation | undefined {
  const pulled = listPulled(cacheDir);
  const exact = pulled.find((model) => model.name === name);
  const wanted = parseReference(name);
  if (exact || wanted === null) return exact;
  const fitting = pulled.filter(({ name: full, path }) => {
    const has = parseReference(full);
    if (has?.repo !== wanted.repo || has.revision !== wanted.revision) return false;
    return wanted.file === undefined || hasTag(path, wanted.file) || has.file === wanted.file;
  });
  if (fitting.length < 2) return fitting[0] && { ...fitting[0], name };
  throw new ModelError(
    "model_not_found",
    `"${name}" may be any of ${fitting.map((model) => model.name).join(", ")}: name one`,
  );
}

/**
 * What a user means by `--model`: a built-in or pulled name first, else a path.
 * @throws ModelError "model_not_found" saying where was looked and which names there are
 */
export function locateModel(nameOrPath: string, cacheDir: string = userCacheDir()): ModelLocation {
  const known = listModels(cacheDir);
  const named = known.find(({ name }) => name === nameOrPath);
  if (named) return named;
  const path = resolve(nameOrPath);
  if (nameOrPath !== "" && existsSync(path)) return { name: servedName(path), path, origin: "path" };
  const fitting = locatePulled(nameOrPath, cacheDir);
  if (fitting) return fitting;
  throw new ModelError(
    "model_not_found",
    `no model "${nameOrPath}": there is no file or folder ${path}, and the names known are ` +
      `${known.map(({ name }) => name).join(", ") || "none"}${pullHint(nameOrPath)}`,
  );
}

function pullHint(name: string): string {
  const pullable = catalogue.some((entry) => entry.name === name) || parseReference(name) !== null;
  return pullable ? `; get it with: sparq pull ${name}` : "";
}

/** "…/smollm2/onnx/model.onnx" and "…/smollm2" are "smollm2"; "…/llama-q4.gguf" is "llama-q4". */
export function servedName(path: string): string {
  if (statSync(path).isDirectory()) return basename(path);
  if (extname(path) === ".gguf") return basename(ggufStem(path));
  if (extname(path) !== ".onnx") return basename(path, extname(path));
  const folder = dirname(path);
  return basename(basename(folder) === "onnx" ? dirname(folder) : folder);
}
