import { createReadStream, existsSync, renameSync, rmSync, statSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { ModelError } from "../errors.ts";
import { checksumLike } from "./checksum.ts";
import type { HubFile } from "./hub-listing.ts";
import { get, type Hub, PassingFault, withRetries } from "./request.ts";

/** Where a file comes from and goes to. */
export interface Download {
  readonly address: string;
  readonly file: HubFile;
  /** It appears here, whole and right. */
  readonly target: string;
  /** Names the file in messages: "org/name:config.json". */
  readonly what: string;
}

/**
 * Downloads a file. What has arrived lies in `target`.partial and is gone on from: after a cut, and in a later call.
 * Content that does not fit the checksum is fetched once more from its beginning.
 * @throws ModelError "file_invalid" with both checksums, else as `get` does
 */
export async function download(hub: Hub, job: Download, onBytes: (done: number) => void): Promise<void> {
  const { file, target, what } = job;
  const partial = `${target}.partial`;
  if (existsSync(target)) return;
  for (let again = false; ; again = true) {
    const sum = await fetchWhole(hub, job, partial, onBytes);
    if (sum === file.checksum) break;
    rmSync(partial);
    if (!again) continue;
    throw new ModelError(
      "file_invalid",
      `${what} came twice with ${file.bytes} bytes and ${sum}; the hub says ${file.checksum}`,
    );
  }
  renameSync(partial, target);
}

/** Fills `partial` up to the file's length, in as many requests as it takes; returns its checksum. */
async function fetchWhole(
  hub: Hub,
  { address, file, what }: Download,
  partial: string,
  onBytes: (done: number) => void,
): Promise<string> {
  if (existsSync(partial) && statSync(partial).size > file.bytes) rmSync(partial);
  const handle = await open(partial, "a");
  try {
    // What is fetched a second time is no advance: a hub that always cuts, or promises too much, comes to an end.
    let furthest = (await handle.stat()).size;
    const advanced = () => {
      const { size } = statSync(partial);
      const further = size > furthest;
      furthest = Math.max(furthest, size);
      return further;
    };
    await withRetries(hub, () => fetchRest(hub, address, file, what, handle, onBytes), advanced);
    await handle.sync();
  } finally {
    await handle.close();
  }
  const sum = checksumLike(file.checksum, file.bytes);
  for await (const chunk of createReadStream(partial, { highWaterMark: 1 << 20 })) sum.update(chunk);
  return sum.digest();
}

/** One request for what is not there yet. */
async function fetchRest(
  hub: Hub,
  address: string,
  file: HubFile,
  what: string,
  handle: FileHandle,
  onBytes: (done: number) => void,
): Promise<void> {
  let done = (await handle.stat()).size;
  onBytes(done);
  if (done === file.bytes) return;
  const { response, body } = await get(hub, address, what, done > 0 ? `bytes=${done}-` : undefined);
  const { status } = response;
  const range = response.headers.get("content-range");
  if (done > 0 && status === 206 && range?.startsWith(`bytes ${done}-`) !== true) {
    await response.body?.cancel();
    throw new ModelError("download_failed", `${what}: the hub sent ${range ?? "no range"} for bytes ${done}-`);
  }
  if (done > 0 && status !== 206) {
    // It sends the whole file, or (416) says that there is nothing more.
    await handle.truncate(0);
    done = 0;
  }
  if (status === 416) {
    await response.body?.cancel();
    throw new PassingFault(`${what} has ${file.bytes} bytes, and the hub has nothing for the rest of them`);
  }
  for await (const chunk of body) {
    if (done + chunk.length > file.bytes) {
      await handle.truncate(0);
      throw new ModelError("file_invalid", `${what} is longer than the ${file.bytes} bytes that the hub says it has`);
    }
    await write(handle, chunk, what);
    done += chunk.length;
    onBytes(done);
  }
  if (done < file.bytes) throw new PassingFault(`${what} ended after ${done} of ${file.bytes} bytes`);
}

async function write(handle: FileHandle, chunk: Uint8Array, what: string): Promise<void> {
  try {
    for (let at = 0; at < chunk.length; ) at += (await handle.write(chunk, at)).bytesWritten;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
    throw new ModelError(
      "disk_full",
      `${what}: the disk is full; free some space and pull again, which goes on from here`,
    );
  }
}
