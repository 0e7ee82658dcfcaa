import { copyFileSync, existsSync, linkSync, statSync } from "node:fs";
import { join } from "node:path";
import { ModelError } from "../errors.ts";
import { locatePulled, pulledModelsDir, userCacheDir } from "../registry.ts";
import { checksumOf } from "./checksum.ts";
import { type Choice, chooseFiles } from "./choose.ts";
import { download } from "./download.ts";
import { fileAddress, type HubFile, listRepository } from "./hub-listing.ts";
import { folderOf, type PulledFile, type PullManifest, readManifest } from "./manifest.ts";
import { type HubReference, referenceName } from "./reference.ts";
import { type Hub, hubFromEnvironment } from "./request.ts";
import { checkSpace, incomingPath, install, type Staging, withStaging } from "./store.ts";
import type { PulledModel, PullOptions } from "./types.ts";

/**
 * Gets a model from a hub into the cache folder. What is there already, of this model or of an earlier commit of it, is
 * not fetched again. Without the hub (HF_HUB_OFFLINE, or it does not answer) a model that is there counts as it is.
 * @throws ModelError as `listRepository`, `chooseFiles` and `download` do; "disk_full" before anything is fetched
 */
export async function pullFromHub(reference: HubReference, options: PullOptions): Promise<PulledModel> {
  const hub: Hub = { ...(options.hub ?? hubFromEnvironment()), ...(options.signal ? { signal: options.signal } : {}) };
  const cacheDir = options.cacheDir ?? userCacheDir();
  const there = locatePulled(referenceName(reference), cacheDir);
  const asItIs = (unasked: string): PulledModel => {
    if (there) return { ...there, present: true, unasked };
    throw new ModelError("hub_unreachable", `${referenceName(reference)} is not in the cache, and ${unasked}`);
  };
  if (/^(1|true|yes|on)$/i.test(process.env.HF_HUB_OFFLINE ?? "")) return asItIs("HF_HUB_OFFLINE is set");
  let listing: Awaited<ReturnType<typeof listRepository>>;
  try {
    listing = await listRepository(hub, reference);
  } catch (error) {
    if (error instanceof ModelError && error.code === "hub_unreachable" && there) return asItIs(error.message);
    throw error;
  }
  const { repo, revision, file } = reference;
  const choice = chooseFiles(listing.files, referenceName({ repo, revision, file: undefined }), file);
  const name = referenceName({ repo, revision, file: file === undefined ? undefined : choice.main! });
  const manifest: PullManifest = {
    name,
    source: `${hub.endpoint}/${repo}`,
    commit: listing.commit,
    main: choice.main,
    pulledAt: new Date().toISOString(),
    files: choice.files.map(({ path, bytes, checksum }) => ({ path, bytes, checksum })),
  };
  const models = pulledModelsDir(cacheDir);
  const folder = join(models, folderOf(name));
  const path = choice.main === null ? folder : join(folder, choice.main);
  const total = choice.files.reduce((sum, { bytes }) => sum + bytes, 0);
  const progress = (done: number, what: string) => options.onProgress?.(done, total, what);
  const good = await goodFiles(folder, choice, (done) => progress(done, `checking ${name}`), options.signal);
  if (choice.files.every((wanted) => good.get(wanted.checksum) === wanted.path)) {
    const same = readManifest(folder)?.files.length === choice.files.length;
    if (same) return { name, path, present: true };
  }
  await withStaging(models, name, async (staging) => {
    adopt(staging, folder, good);
    await fetchFiles(hub, staging, repo, manifest, progress);
    install(staging, manifest);
  });
  return { name, path, present: false };
}

/** Of the files that an earlier pull left, those that are wanted and undamaged: their paths by checksum. */
async function goodFiles(
  folder: string,
  { files }: Choice<HubFile>,
  onBytes: (done: number) => void,
  signal: AbortSignal | undefined,
): Promise<Map<string, string>> {
  const wanted = new Set(files.map(({ checksum }) => checksum));
  const good = new Map<string, string>();
  let done = 0;
  for (const { path, bytes, checksum } of readManifest(folder)?.files ?? []) {
    const whole = join(folder, path);
    if (!wanted.has(checksum) || !existsSync(whole) || statSync(whole).size !== bytes) continue;
    const found = await checksumOf(whole, checksum, bytes, (read) => onBytes(done + read), signal);
    if (found === checksum) good.set(checksum, path);
    done += bytes;
  }
  return good;
}

/** Takes what an earlier pull left over, as a second link where the file system has such. */
function adopt(staging: Staging, folder: string, good: ReadonlyMap<string, string>): void {
  for (const [checksum, path] of good) {
    const target = incomingPath(staging, checksum);
    if (existsSync(target)) continue;
    try {
      linkSync(join(folder, path), target);
    } catch {
      copyFileSync(join(folder, path), target);
    }
  }
}

async function fetchFiles(
  hub: Hub,
  staging: Staging,
  repo: string,
  { name, commit, files }: PullManifest,
  progress: (done: number, what: string) => void,
): Promise<void> {
  const missing = (file: PulledFile) => file.bytes - arrived(staging, file);
  checkSpace(
    staging.incoming,
    files.reduce((sum, file) => sum + missing(file), 0),
    name,
  );
  let before = 0;
  for (const [index, file] of files.entries()) {
    const what = `${repo}:${file.path}`;
    const label = `downloading ${file.path} (${index + 1} of ${files.length})`;
    const job = {
      address: fileAddress(hub, repo, commit!, file.path),
      file,
      target: incomingPath(staging, file.checksum),
      what,
    };
    await download(hub, job, (done) => progress(before + done, label));
    before += file.bytes;
  }
}

/** Bytes of a file that need not be fetched any more. */
function arrived(staging: Staging, { checksum, bytes }: PulledFile): number {
  const target = incomingPath(staging, checksum);
  const size = (path: string) => statSync(path, { throwIfNoEntry: false })?.size;
  return Math.min(bytes, size(target) ?? size(`${target}.partial`) ?? 0);
}
