import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from "node:fs";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import { ModelError } from "../errors.ts";
import { formatBytes } from "./choose.ts";
import { folderOf, type PullManifest, writeManifest } from "./manifest.ts";

/** Begins the names of folders in which models are put together: they are no models yet. */
export const stagingPrefix = ".pulling-";

/** File systems allow 255 bytes, and the prefix needs some. */
const LONGEST_NAME = 240;

/** A model on its way into the cache: its files come into `incoming`, named by their checksums. */
export interface Staging {
  readonly incoming: string;
  readonly folder: string;
}

/**
 * Runs `fill` with a model's staging folder, which stays when it fails, so that the next pull goes on from there. One pull
 * of a name at a time.
 * @throws ModelError "download_failed" naming the process that is pulling it
 */
export async function withStaging<T>(models: string, name: string, fill: (staging: Staging) => Promise<T>): Promise<T> {
  const incoming = join(models, `${stagingPrefix}${folderOf(name)}`);
  if (folderOf(name).length > LONGEST_NAME) {
    throw new ModelError(
      "file_invalid",
      `the name ${name} is too long for a folder; --name gives a model of a path another`,
    );
  }
  mkdirSync(incoming, { recursive: true });
  const lock = join(incoming, "lock");
  takeLock(lock, name);
  try {
    return await fill({ incoming, folder: join(models, folderOf(name)) });
  } finally {
    rmSync(lock, { force: true });
  }
}

function takeLock(lock: string, name: string): void {
  const own = `${process.pid} ${hostname()}`;
  for (const last of [false, true]) {
    try {
      writeFileSync(lock, own, { flag: "wx" });
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      const [pid = "", host = ""] = readFileSync(lock, "utf8").split(" ");
      if (last || host !== hostname() || isAlive(Number(pid))) {
        throw new ModelError(
          "download_failed",
          `${name} is being pulled by process ${pid} on ${host}; if that has ended, remove ${lock}`,
        );
      }
      rmSync(lock, { force: true });
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Where a file lies until the model is whole. */
export function incomingPath({ incoming }: Staging, checksum: string): string {
  return join(incoming, checksum.replace(":", "-"));
}

/** Puts the model together from its files and makes it appear in place of an older one, if there is one. */
export function install(staging: Staging, manifest: PullManifest): void {
  const made = join(staging.incoming, "model");
  rmSync(made, { recursive: true, force: true });
  const left = new Set(manifest.files.map(({ path }) => path));
  for (const { path, checksum } of manifest.files) {
    mkdirSync(dirname(join(made, path)), { recursive: true });
    left.delete(path);
    // Two files of the same content came as one.
    const again = manifest.files.some((other) => other.checksum === checksum && left.has(other.path));
    (again ? copyFileSync : renameSync)(incomingPath(staging, checksum), join(made, path));
  }
  writeManifest(made, manifest);
  if (existsSync(staging.folder)) renameSync(staging.folder, join(staging.incoming, `old-${process.pid}`));
  renameSync(made, staging.folder);
  rmSync(staging.incoming, { recursive: true, force: true });
}

/** @throws ModelError "disk_full" with both numbers if `bytes` more do not fit where `folder` is */
export function checkSpace(
  folder: string,
  bytes: number,
  name: string,
  statfs: (path: string) => { bavail: number; bsize: number } = statfsSync,
): void {
  const { bavail, bsize } = statfs(folder);
  const free = bavail * bsize;
  if (bytes <= free) return;
  throw new ModelError(
    "disk_full",
    `${name} needs ${formatBytes(bytes)} more, and ${folder} has ${formatBytes(free)} free (SPARQ_CACHE names another folder)`,
  );
}
