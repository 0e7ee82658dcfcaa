import { z } from "zod";
import { ModelError } from "../errors.ts";
import { checkPath, type HubReference } from "./reference.ts";
import { get, type Hub, withRetries } from "./request.ts";

/** A file of a repository; `checksum` as in PulledFile. */
export interface HubFile {
  readonly path: string;
  readonly bytes: number;
  readonly checksum: string;
}

export interface HubListing {
  /** What the revision means at this moment. */
  readonly commit: string;
  readonly files: readonly HubFile[];
}

/** Hubs answer with some kilobytes; repositories of many thousand files with some megabytes. */
const LARGEST_ANSWER = 64 * 1024 * 1024;

const hex = (digits: number) => z.string().regex(new RegExp(`^[0-9a-f]{${digits}}$`));
const size = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const answerSchema = z.object({
  sha: hex(40),
  siblings: z.array(
    z.object({
      rfilename: z.string(),
      size,
      blobId: hex(40).optional(),
      lfs: z.object({ sha256: hex(64), size: size.optional() }).nullish(),
    }),
  ),
});

/**
 * Asks the hub for a model's files, with their sizes and checksums. Hidden files are left out.
 * @throws ModelError; "file_invalid" for an answer without what is needed, or with paths that lead elsewhere
 */
export async function listRepository(hub: Hub, { repo, revision = "main" }: HubReference): Promise<HubListing> {
  const address = `${hub.endpoint}/api/models/${repo}/revision/${encodeURIComponent(revision)}?blobs=true`;
  const text = await withRetries(hub, async () => {
    const { body } = await get(hub, address, revision === "main" ? repo : `${repo}@${revision}`);
    return read(body, repo);
  });
  const { sha, siblings } = parse(text, `${hub.endpoint}: the answer about ${repo}`);
  const files = siblings.map(({ rfilename, size: bytes, blobId, lfs }) => {
    checkPath(rfilename, repo);
    const checksum = lfs ? `sha256:${lfs.sha256}` : `git-sha1:${blobId}`;
    if (!lfs && blobId === undefined) {
      throw new ModelError("file_invalid", `${hub.endpoint} gives no checksum for ${repo}:${rfilename}`);
    }
    return { path: rfilename, bytes: lfs?.size ?? bytes, checksum };
  });
  return { commit: sha, files: files.filter(({ path }) => !/(^|\/)\./.test(path)) };
}

/** Where a file of a commit is downloaded from. */
export function fileAddress(hub: Hub, repo: string, commit: string, path: string): string {
  return `${hub.endpoint}/${repo}/resolve/${commit}/${path.split("/").map(encodeURIComponent).join("/")}`;
}

async function read(body: AsyncIterable<Uint8Array>, repo: string): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > LARGEST_ANSWER) {
      throw new ModelError("file_invalid", `${repo}: the hub's list of files is longer than ${LARGEST_ANSWER} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function parse(text: string, source: string): z.infer<typeof answerSchema> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new ModelError("file_invalid", `${source} is no JSON: ${JSON.stringify(text.slice(0, 80))}`);
  }
  const parsed = answerSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const { path, message } = parsed.error.issues[0]!;
  throw new ModelError("file_invalid", `${source} lacks what is needed: ${path.join(".")}: ${message}`);
}
