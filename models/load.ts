import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, dirname, extname, join } from "node:path";
import { prepareGraph } from "./cache.ts";
import { parseConfig } from "./config.ts";
import { ModelError } from "./errors.ts";
import { importGguf } from "./gguf/import.ts";
import { readJsonFile } from "./json.ts";
import { importOnnx } from "./onnx/import.ts";
import { locateModel, type ModelLocation } from "./registry.ts";
import { readTokenizerFiles } from "./tokenizer-files.ts";
import type { LoadModelOptions, PreparedModel } from "./types.ts";

/**
 * Finds a model by built-in name, pulled name or path and makes it ready for a session. A path is a folder with
 * model.onnx (or onnx/model.onnx) and config.json, an .onnx file with config.json beside it or one folder up, or a GGUF
 * file. The prepared graph is kept on disk; see cache.ts.
 * @throws ModelError naming the file, node or field
 */
export async function loadModel(nameOrPath: string, options: LoadModelOptions = {}): Promise<PreparedModel> {
  const location = locateModel(nameOrPath, options.cacheDir);
  const file = modelFile(location);
  if (extname(file) === ".gguf") return { ...(await importGguf(file, options)), name: location.name };
  return loadOnnx(location.name, file, options);
}

/** The .onnx or .gguf file that a location means. */
function modelFile({ path }: ModelLocation): string {
  if (!statSync(path).isDirectory()) {
    if ([".onnx", ".gguf"].includes(extname(path))) return path;
    throw new ModelError("file_invalid", `${path} is neither a folder nor an .onnx or .gguf file`);
  }
  const graphs = [join(path, "model.onnx"), join(path, "onnx", "model.onnx")].filter((file) => existsSync(file));
  if (graphs[0]) return graphs[0];
  const ggufs = readdirSync(path).filter((name) => extname(name) === ".gguf");
  if (ggufs.length === 1) return join(path, ggufs[0]!);
  throw new ModelError(
    "file_missing",
    ggufs.length > 1
      ? `${path} holds ${ggufs.length} GGUF files (${ggufs.join(", ")}): name one`
      : `${path} holds no model: looked for model.onnx, onnx/model.onnx and a .gguf file`,
  );
}

async function loadOnnx(name: string, file: string, options: LoadModelOptions): Promise<PreparedModel> {
  const folder = configFolder(file);
  const configPath = join(folder, "config.json");
  const generationPath = join(folder, "generation_config.json");
  const generation = existsSync(generationPath) ? readJsonFile(generationPath) : undefined;
  const config = parseConfig(readJsonFile(configPath), generation, configPath);
  const tokenizer = readTokenizerFiles(folder);
  const prepared = await prepareGraph({
    folder: dirname(file),
    label: basename(file, ".onnx"),
    files: [configPath, file],
    options,
    build: (target) => importOnnx(file, config, target, options),
  });
  return { name, source: file, config, tokenizer, ...prepared };
}

/** Exports on the hub keep the graph in onnx/ and everything else above it. */
function configFolder(file: string): string {
  const beside = dirname(file);
  const folders = basename(beside) === "onnx" ? [beside, dirname(beside)] : [beside];
  const found = folders.find((folder) => existsSync(join(folder, "config.json")));
  if (found) return found;
  throw new ModelError("file_missing", `${file} needs a config.json; looked in ${folders.join(" and ")}`);
}
