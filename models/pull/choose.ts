import { posix } from "node:path";
import { ModelError } from "../errors.ts";
import { genaiFile } from "../genai/config.ts";
import { partPaths, withoutFurtherParts } from "../gguf/part-names.ts";
import { graphFiles, otherGraphs } from "../graph-files.ts";
import { hasTag } from "./reference.ts";

/** A file that a hub or a folder offers. */
export interface OfferedFile {
  readonly path: string;
  readonly bytes: number;
}

export interface Choice<File extends OfferedFile> {
  readonly files: readonly File[];
  /** The file to load, where the folder alone does not say it. */
  readonly main: string | null;
}

/** Beside the weights; what of them is there is taken. */
const companions = new Set([
  "config.json",
  genaiFile,
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "chat_template.jinja",
  "chat_template.json",
]);
const licence = /^(licen[cs]e|notice|use_policy)(\.(md|txt))?$/i;
/** Without one of each a model that is no GGUF cannot be served. */
const required = [["config.json", genaiFile], ["tokenizer.json"]];

/**
 * The files of a model that serving needs, of those that `source` offers. Without a wish: the graph beside genai_config.json, else
 * safetensors, else a graph (graph-files.ts), else the only GGUF. `wish` is a file's path or the tag of a GGUF.
 * @throws ModelError "file_missing" saying what there is, with sizes
 */
export function chooseFiles<File extends OfferedFile>(
  offered: readonly File[],
  source: string,
  wish?: string,
): Choice<File> {
  const has = (path: string) => offered.some((file) => file.path === path);
  if (wish !== undefined) {
    const main = wished(offered, source, wish);
    return { files: withCompanions(offered, source, weightsOf(offered, source, main)), main };
  }
  if (has(genaiFile)) {
    return {
      files: withCompanions(offered, source, weightsOf(offered, source, genaiGraph(offered, source))),
      main: null,
    };
  }
  const checkpoint = checkpointOf(offered, source);
  if (checkpoint.length > 0) return { files: withCompanions(offered, source, checkpoint), main: null };
  const graph = graphFiles.find(has);
  if (graph !== undefined) {
    return { files: withCompanions(offered, source, weightsOf(offered, source, graph)), main: null };
  }
  const main = onlyFile(offered, source);
  return { files: withCompanions(offered, source, weightsOf(offered, source, main)), main };
}

/** The graph of a model for onnxruntime-genai. genai_config.json says which; before it is read, there must be one alone. */
function genaiGraph(offered: readonly OfferedFile[], source: string): string {
  const found = offered.filter(({ path }) => posix.dirname(path) === "." && path.endsWith(".onnx"));
  if (found.length === 1) return found[0]!.path;
  throw new ModelError(
    "file_missing",
    `${source} has ${found.length} .onnx files beside ${genaiFile}${found.length > 1 ? `: name one of${listing(found)}` : ""}`,
  );
}

/** The path that `wish` names. */
function wished(offered: readonly OfferedFile[], source: string, wish: string): string {
  if (offered.some(({ path }) => path === wish)) {
    if (/\.(gguf|onnx|safetensors)$/.test(wish)) return wish;
    throw new ModelError("file_invalid", `${source}: ${wish} is no .gguf, .onnx or .safetensors file`);
  }
  const tagged = ggufsOf(offered).filter(({ path }) => hasTag(path, wish));
  if (tagged.length === 1) return tagged[0]!.path;
  throw new ModelError(
    "file_missing",
    tagged.length > 1
      ? `${source} has ${tagged.length} GGUF files for "${wish}": name one of${listing(tagged)}`
      : `${source} has no file ${wish}; it has${listing(weightFiles(offered))}`,
  );
}

/** The one GGUF file, or export by another name, that there is. */
function onlyFile(offered: readonly OfferedFile[], source: string): string {
  const exported = otherGraphs(offered.map(({ path }) => path));
  const found = [...offered.filter(({ path }) => exported.includes(path)), ...ggufsOf(offered)];
  if (found.length === 1) return found[0]!.path;
  const others = weightFiles(offered);
  throw new ModelError(
    "file_missing",
    found.length > 1
      ? `${source} has ${found.length} ${exported.length > 0 ? "models" : "GGUF files"}: name one, as in ` +
          `${source}:${found[0]!.path}; there are${listing(found)}`
      : `${source} has no model that can be served: looked for model.safetensors, ${graphFiles.join(", ")}, an .onnx and a .gguf ` +
          `file${others.length > 0 ? `; it has${listing(others)}` : ""}`,
  );
}

/** Projectors of pictures are no models. Of a model in parts the first is given. */
function ggufsOf<File extends OfferedFile>(offered: readonly File[]): File[] {
  const ggufs = offered.filter(({ path }) => path.endsWith(".gguf") && !posix.basename(path).startsWith("mmproj"));
  return withoutFurtherParts(ggufs, ({ path }) => path);
}

function weightFiles(offered: readonly OfferedFile[]): OfferedFile[] {
  return offered.filter(({ path }) => /\.(gguf|onnx|safetensors|bin|pt|pth)$/.test(path));
}

/** The model in safetensors: one file, or all shards and their index. Shards are named "model-00001-of-00002". */
function checkpointOf<File extends OfferedFile>(offered: readonly File[], source: string): File[] {
  const single = offered.filter(({ path }) => path === "model.safetensors");
  if (single.length > 0) return single;
  const shards = offered.filter(({ path }) => /^model-\d{5}-of-\d{5}\.safetensors$/.test(path));
  if (shards.length === 0) return [];
  const count = Number(shards[0]!.path.slice(15, 20));
  const index = offered.filter(({ path }) => path === "model.safetensors.index.json");
  if (shards.length === count && index.length === 1) return [...shards, ...index];
  throw new ModelError(
    "file_missing",
    `${source} has ${shards.length} of ${count} shards${index.length === 1 ? "" : " and no model.safetensors.index.json"}: it has` +
      listing(shards),
  );
}

/** The files that hold the weights of `main`: itself, the other parts of a GGUF, and an ONNX graph's external data. */
function weightsOf<File extends OfferedFile>(offered: readonly File[], source: string, main: string): File[] {
  const parts = main.endsWith(".gguf") ? partPaths(main) : [main];
  const missing = parts.filter((part) => !offered.some(({ path }) => path === part));
  if (missing.length > 0) {
    throw new ModelError(
      "file_missing",
      `${source}: ${main} is one of ${parts.length} parts, of which ${missing.length} are missing: ${missing.slice(0, 5).join(", ")}`,
    );
  }
  const isData = (path: string) => path.startsWith(`${main}_data`) || path.startsWith(`${main}.data`);
  return offered.filter(({ path }) => parts.includes(path) || (main.endsWith(".onnx") && isData(path)));
}

/** `weights` with what lies beside them; exports keep the graph in onnx/ and everything else above it. */
function withCompanions<File extends OfferedFile>(
  offered: readonly File[],
  source: string,
  weights: readonly File[],
): File[] {
  const main = weights[0]!.path;
  const beside = posix.dirname(main);
  const folders = posix.basename(beside) === "onnx" ? [beside, posix.dirname(beside)] : [beside];
  const found = folders.find((folder) => {
    return required[0]!.some((name) => offered.some(({ path }) => path === posix.join(folder, name)));
  });
  const folder = found ?? beside;
  const inFolder = offered.filter(({ path }) => posix.dirname(path) === folder && companions.has(posix.basename(path)));
  const missing = required
    .filter((names) => !names.some((name) => inFolder.some(({ path }) => posix.basename(path) === name)))
    .map(([name]) => name);
  if (missing.length > 0 && !main.endsWith(".gguf")) {
    throw new ModelError(
      "file_missing",
      `${source} has no ${missing.join(" and no ")} beside ${main}, which serving needs`,
    );
  }
  const licences = offered.filter(({ path }) => licence.test(path));
  return [...inFolder, ...licences, ...weights];
}

function listing(files: readonly OfferedFile[]): string {
  const shown = files.slice(0, 40).map(({ path, bytes }) => `\n  ${path} (${formatBytes(bytes)})`);
  return `:${shown.join("")}${files.length > shown.length ? `\n  and ${files.length - shown.length} more` : ""}`;
}

/** "92.9 MB": powers of 1000, as hubs and disks count. */
export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, bytes)) / 3)));
  return power === 0 ? `${bytes} B` : `${(bytes / 1000 ** power).toFixed(1)} ${units[power]}`;
}
