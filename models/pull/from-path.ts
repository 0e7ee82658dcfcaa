import { createHash } from "node:crypto";
import { createReadStream, createWriteStream, existsSync, readdirSync, renameSync, statSync } from "node:fs";
import { basename, dirname, join, relative, resolve, sep } from "node:path";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { ModelError } from "../errors.ts";
import { builtinModels, pulledModelsDir, servedName, userCacheDir } from "../registry.ts";
import { chooseFiles, type OfferedFile } from "./choose.ts";
import { folderOf, type PulledFile } from "./manifest.ts";
import { checkSpace, incomingPath, install, withStaging } from "./store.ts";
import type { PulledModel, PullOptions } from "./types.ts";

/**
 * Copies a model that lies on this machine into the cache folder: a folder, a GGUF, or an ONNX graph with its data and
 * what lies beside it.
 * @throws ModelError as `chooseFiles` does; "disk_full"
 */
export async function pullFromPath(given: string, options: PullOptions): Promise<PulledModel> {
  const source = resolve(given);
  const name = checkName(options.name ?? servedName(source));
  const { root, wish } = rootOf(source);
  const choice = chooseFiles(filesIn(root), root, wish);
  const models = pulledModelsDir(options.cacheDir ?? userCacheDir());
  const total = choice.files.reduce((sum, { bytes }) => sum + bytes, 0);
  const folder = join(models, folderOf(name));
  await withStaging(models, name, async (staging) => {
    checkSpace(staging.incoming, total, name);
    const files: PulledFile[] = [];
    let before = 0;
    for (const { path } of choice.files) {
      const onBytes = (done: number) => options.onProgress?.(before + done, total, `copying ${path}`);
      const unnamed = join(staging.incoming, "copy");
      const copied = await copy(join(root, path), unnamed, onBytes, options.signal);
      renameSync(unnamed, incomingPath(staging, copied.checksum));
      files.push({ path, ...copied });
      before += copied.bytes;
    }
    install(staging, { name, source, commit: null, main: choice.main, pulledAt: new Date().toISOString(), files });
  });
  return { name, path: choice.main === null ? folder : join(folder, choice.main), present: false };
}

/** The folder that everything lies in, and the file in it that is meant. */
function rootOf(source: string): { root: string; wish?: string } {
  if (statSync(source).isDirectory()) return { root: source };
  const beside = dirname(source);
  const root = basename(beside) === "onnx" && !existsSync(join(beside, "config.json")) ? dirname(beside) : beside;
  return { root, wish: relative(root, source).split(sep).join("/") };
}

/** Files of a folder and of onnx/ in it. Links are followed: caches of Hugging Face's own tools are made of them. */
function filesIn(root: string): OfferedFile[] {
  return ["", "onnx/"].flatMap((prefix) => {
    const folder = join(root, prefix);
    if (!existsSync(folder) || !statSync(folder).isDirectory()) return [];
    return readdirSync(folder)
      .filter((name) => !name.startsWith("."))
      .flatMap((name) => {
        const found = statSync(join(folder, name), { throwIfNoEntry: false });
        return found?.isFile() ? [{ path: `${prefix}${name}`, bytes: found.size }] : [];
      });
  });
}

async function copy(
  from: string,
  to: string,
  onBytes: (done: number) => void,
  signal: AbortSignal | undefined,
): Promise<{ bytes: number; checksum: string }> {
  const hash = createHash("sha256");
  let bytes = 0;
  const count = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      bytes += chunk.length;
      onBytes(bytes);
      done(null, chunk);
    },
  });
  await pipeline(createReadStream(from, { highWaterMark: 1 << 20 }), count, createWriteStream(to), {
    ...(signal ? { signal } : {}),
  });
  return { bytes, checksum: `sha256:${hash.digest("hex")}` };
}

function checkName(name: string): string {
  if (builtinModels.includes(name)) {
    throw new ModelError("file_invalid", `${name} is a built-in model: give this one another name with --name`);
  }
  if (/^[\w][\w.@:/+ -]*$/.test(name)) return name;
  throw new ModelError(
    "file_invalid",
    `${JSON.stringify(name)} is no name for a model (letters, digits, . _ - @ : / + and spaces): --name gives another`,
  );
}
