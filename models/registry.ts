import { existsSync, readdirSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { basename, dirname, extname, join, resolve } from "node:path";
import { packageRoot } from "../attention/root.ts";
import { ModelError } from "./errors.ts";
import { catalogue } from "./pull/catalogue.ts";

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

/** The folder of pulled models: one subfolder each, its name is the model's. */
export function pulledModelsDir(cacheDir: string = userCacheDir()): string {
  return join(cacheDir, "models");
}

/** Built-in models that are there, then pulled ones by name. */
export function listModels(cacheDir: string = userCacheDir()): ModelLocation[] {
  const builtin = builtinModels.map((name): ModelLocation => {
    return { name, path: join(packageRoot(), "models", "builtin", name), origin: "builtin" };
  });
  const folder = pulledModelsDir(cacheDir);
  const names = existsSync(folder) ? readdirSync(folder).filter((name) => !name.startsWith(".")) : [];
  const pulled = names
    .filter((name) => statSync(join(folder, name)).isDirectory())
    .sort()
    .map((name): ModelLocation => ({ name, path: join(folder, name), origin: "pulled" }));
  return [...builtin.filter(({ path }) => existsSync(path)), ...pulled];
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
  throw new ModelError(
    "model_not_found",
    `no model "${nameOrPath}": there is no file or folder ${path}, and the names known are ` +
      `${known.map(({ name }) => name).join(", ") || "none"}${pullHint(nameOrPath)}`,
  );
}

function pullHint(name: string): string {
  return catalogue.some((entry) => entry.name === name) ? `; get it with: sparq pull ${name}` : "";
}

/** "…/smollm2/onnx/model.onnx" and "…/smollm2" are "smollm2"; "…/llama-q4.gguf" is "llama-q4". */
function servedName(path: string): string {
  if (statSync(path).isDirectory()) return basename(path);
  if (extname(path) !== ".onnx") return basename(path, extname(path));
  const folder = dirname(path);
  return basename(basename(folder) === "onnx" ? dirname(folder) : folder);
}
