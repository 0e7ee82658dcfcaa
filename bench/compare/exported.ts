import { existsSync, statSync } from "node:fs";
import { basename, dirname, extname, join } from "node:path";
import { packageRoot } from "../../attention/root.ts";
import { readJsonFile } from "../../models/json.ts";
import { userCacheDir } from "../../models/registry.ts";
import { type PeerContext, PeerMissing } from "./peer.ts";

/** The folder in which a peer that reads no GGUF finds the model: config.json, and model.onnx or weights beside it. */
export interface Exported {
  readonly folder: string;
  /** What to say if a file is not there. */
  readonly remedy: string;
}

/**
 * Of an ONNX model its own folder; of a GGUF file the one that python/export.py made of it. Throws PeerMissing, with the command
 * that makes it, if there is none or it was made of another file.
 */
export function exportedOf({ model: { name, source }, exported }: PeerContext): Exported {
  if (extname(source) !== ".gguf") {
    return { folder: dirname(source), remedy: "it is not part of this model's folder" };
  }
  const folder = exported ?? join(userCacheDir(), "bench", "export", name);
  const script = join(packageRoot(), "bench", "compare", "python", "export.py");
  const remedy = `make it with: python ${script} ${source} ${folder} (after pip install -r ${join(dirname(script), "requirements.txt")})`;
  const made = join(folder, "source.json");
  if (!existsSync(made)) throw new PeerMissing(`it reads no GGUF, and ${folder} has no export; ${remedy}`);
  const { file, bytes } = readJsonFile(made) as { file?: unknown; bytes?: unknown };
  const size = statSync(source).size;
  if (file !== basename(source) || bytes !== size) {
    const own = `${basename(source)} of ${size} bytes`;
    throw new PeerMissing(`${folder} was made of ${file} of ${bytes} bytes, the model is ${own}; ${remedy}`);
  }
  return { folder, remedy };
}

/** The unmodified ONNX model. */
export function onnxOf(context: PeerContext): string {
  if (extname(context.model.source) === ".onnx") return context.model.source;
  const { folder, remedy } = exportedOf(context);
  const path = join(folder, "model.onnx");
  if (!existsSync(path)) throw new PeerMissing(`there is no ${path}; ${remedy}`);
  return path;
}
