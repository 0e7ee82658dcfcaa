import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";

/** A sum that grows: "sha256:…", or git's of a blob, "git-sha1:…", which needs the length beforehand. */
export function checksumLike(checksum: string, bytes: number): { update(chunk: Uint8Array): void; digest(): string } {
  const [kind] = checksum.split(":", 1);
  const hash: Hash = kind === "git-sha1" ? createHash("sha1").update(`blob ${bytes}\0`) : createHash("sha256");
  return { update: (chunk) => void hash.update(chunk), digest: () => `${kind}:${hash.digest("hex")}` };
}

/** The sum of a file, of the kind that `like` has. */
export async function checksumOf(
  path: string,
  like: string,
  bytes: number,
  onBytes: (bytes: number) => void = () => {},
  signal?: AbortSignal,
): Promise<string> {
  const sum = checksumLike(like, bytes);
  let done = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20, ...(signal ? { signal } : {}) })) {
    sum.update(chunk);
    done += chunk.length;
    onBytes(done);
  }
  return sum.digest();
}
