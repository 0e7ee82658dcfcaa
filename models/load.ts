import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, dirname, extname, join } from "node:path";
import { prepareGraph } from "./cache.ts";
import { parseConfig } from "./config.ts";
import { readConfigFiles } from "./config-files.ts";
import { ModelError } from "./errors.ts";
import { genaiFile, parseGenaiConfig } from "./genai/config.ts";
import { importGguf } from "./gguf/import.ts";
import { withoutFurtherParts } from "./gguf/part-names.ts";
import { graphFiles, otherGraphs } from "./graph-files.ts";
import { readJsonFile } from "./json.ts";
import { locateModel, type ModelLocation } from "./registry.ts";
import { hasCheckpoint } from "./safetensors/checkpoint.ts";
import { importCheckpoint } from "./safetensors/import.ts";
import { readTokenizerFiles } from "./tokenizer-files.ts";
import type { LoadModelOptions, PreparedModel } from "./types.ts";

/**
 * Finds a model by built-in name, pulled name or path and makes it ready for a session. A path is a folder with
 * model.onnx (or onnx/model.onnx) and config.json, one as onnxruntime-genai's builder leaves it (genai_config.json), an .onnx file with config.json beside it or one folder up, a Hugging Face
 * checkpoint (a folder with config.json and weights in safetensors, or one such file in it), or a GGUF file (the folder or any part of one in several). The prepared graph is kept on disk; see cache.ts.
 * @throws ModelError naming the file, node or field
 */
export async function loadModel(nameOrPath: string, options: LoadModelOptions = {}): Promise<PreparedModel> {
  const location = locateModel(nameOrPath, options.cacheDir);
  const file = modelFile(location);
  if (options.quantize && [".onnx", ".gguf"].includes(extname(file))) {
    throw new ModelError(
      "unsupported_config",
      `${file} cannot be quantised to ${options.quantize}: only checkpoints in safetensors can, other files have weights as they are`,
    );
  }
  if (extname(file) === ".gguf") return { ...(await importGguf(file, options)), name: location.name };
  if (extname(file) !== ".onnx") return { ...(await importCheckpoint(file, options)), name: location.name };
  try {
    if (isGenai(file)) {
      const { importGenai } = await import("./genai/import.ts");
      return { ...(await importGenai(file, options)), name: location.name };
    }
    return await loadOnnx(location.name, file, options);
  } catch (error) {
    throw withWayOut(error);
  }
}

/** What is wrong with a model that ONNX Runtime may be able to run as it is. */
const onlyOurs: ReadonlySet<string> = new Set([
  "attention_unproven",
  "unsupported_architecture",
  "unsupported_config",
  "unsupported_graph",
]);

/** A refusal of an ONNX model, with what can be done nevertheless. */
function withWayOut(error: unknown): unknown {
  if (!(error instanceof ModelError) || !onlyOurs.has(error.code)) return error;
  const { code, message, cause } = error;
  return new ModelError(code, `${message}; serve it dense with --attention=onnx`, { cause });
}

/** The .onnx or .gguf file that a location means, or the folder or .safetensors file of a checkpoint. */
export function modelFile({ path }: ModelLocation): string {
  if (!statSync(path).isDirectory()) {
    if ([".onnx", ".gguf", ".safetensors"].includes(extname(path))) return path;
    throw new ModelError("file_invalid", `${path} is neither a folder nor an .onnx, .gguf or .safetensors file`);
  }
  if (existsSync(join(path, genaiFile))) return genaiGraph(path);
  const graph = graphFiles.find((name) => existsSync(join(path, name)));
  if (graph !== undefined) return join(path, graph);
  if (hasCheckpoint(path)) return path;
  const files = readdirSync(path).filter((name) => extname(name) === ".gguf");
  const ggufs = withoutFurtherParts(files, (name) => name);
  const exported = otherGraphs([...readdirSync(path), ...namesIn(path, "onnx")]);
  const found = [...exported, ...ggufs];
  if (found.length === 1) return join(path, found[0]!);
  throw new ModelError(
    "file_missing",
    found.length > 1
      ? `${path} holds ${found.length} ${exported.length > 0 ? "models" : "GGUF files"} (${found.join(", ")}): name one`
      : `${path} holds no model: looked for ${genaiFile}, ${graphFiles.join(", ")}, .safetensors files, an .onnx and a .gguf file${pickled(path)}`,
  );
}

/** Paths of what a folder's folder holds, from the former on. */
function namesIn(path: string, folder: string): string[] {
  const inner = join(path, folder);
  return existsSync(inner) && statSync(inner).isDirectory()
    ? readdirSync(inner).map((name) => `${folder}/${name}`)
    : [];
}

/** What to do with weights in a format that can run code when it is read. */
function pickled(folder: string): string {
  const name = readdirSync(folder).find((file) => /\.(bin|pt|pth)$/.test(file));
  return name === undefined ? "" : `; ${name} must be converted: model.save_pretrained(..., safe_serialization=True)`;
}

/** Whether genai_config.json is all that lies beside a graph to describe it, or is about this one. */
export function isGenai(file: string): boolean {
  const folder = dirname(file);
  const path = join(folder, genaiFile);
  if (!existsSync(path)) return false;
  if (!existsSync(join(folder, "config.json"))) return true;
  return parseGenaiConfig(readJsonFile(path), path).graphFile === basename(file);
}

/** The graph that a folder's genai_config.json names. */
function genaiGraph(folder: string): string {
  const path = join(folder, genaiFile);
  const { graphFile } = parseGenaiConfig(readJsonFile(path), path);
  const file = join(folder, graphFile);
  if (existsSync(file)) return file;
  throw new ModelError("file_missing", `${path}: model: decoder: filename is "${graphFile}"; there is no ${file}`);
}

async function loadOnnx(name: string, file: string, options: LoadModelOptions): Promise<PreparedModel> {
  const folder = configFolder(file);
  const { path: configPath, config: configJson, generation } = readConfigFiles(folder);
  const config = parseConfig(configJson, generation, configPath, options);
  const tokenizer = readTokenizerFiles(folder);
  const prepared = await prepareGraph({
    folder: dirname(file),
    label: [basename(file, ".onnx"), ...(config.ropeVariant ? [config.ropeVariant] : [])].join("-"),
    files: [configPath, file],
    options,
    build: async (target) => {
      // What makes graphs, and runs them for it, is not read where they are made already.
      const { importOnnx } = await import("./onnx/import.ts");
      return importOnnx(file, config, target, options);
    },
  });
  return { name, source: file, config, tokenizer, ...prepared };
}

/** Exports on the hub keep the graph in onnx/ and everything else above it. */
export function configFolder(file: string): string {
  const beside = dirname(file);
  const folders = basename(beside) === "onnx" ? [beside, dirname(beside)] : [beside];
  const found = folders.find((folder) => existsSync(join(folder, "config.json")));
  if (found) return found;
  throw new ModelError("file_missing", `${file} needs a config.json; looked in ${folders.join(" and ")}`);
}
