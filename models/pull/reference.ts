import { ModelError } from "../errors.ts";
import { ggufStem } from "../gguf/part-names.ts";

/** A model on a hub: `org/name`, `org/name@revision`, `org/name:file`, `org/name@revision:file`. */
export interface HubReference {
  /** "org/name". */
  readonly repo: string;
  /** A branch, a tag or a commit; undefined is the main branch. */
  readonly revision: string | undefined;
  /** A file in it, or the tag of a quantisation that one GGUF file's name has ("Q4_K_M"); undefined is the whole model. */
  readonly file: string | undefined;
}

const part = "[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?";
const pattern = new RegExp(`^(${part}/${part})(?:@([^:@\\s]+))?(?::([^:]+))?$`);

/** What `text` refers to; null if it has not the form of a model on a hub. */
export function parseReference(text: string): HubReference | null {
  const [, repo, revision, file] = pattern.exec(text) ?? [];
  if (repo === undefined || repo.includes("..") || repo.includes("--")) return null;
  return { repo, revision, file };
}

/** The name that a pulled model is known by; `file` is the whole path of the one that was asked for. */
export function referenceName({ repo, revision, file }: HubReference): string {
  return `${repo}${revision === undefined ? "" : `@${revision}`}${file === undefined ? "" : `:${file}`}`;
}

/** The last part of the name of a GGUF as a quantisation's tag: "Q4_K_M" fits "llama-Q4_K_M.gguf" and "llama-Q4_K_M-00001-of-00002.gguf". */
export function hasTag(path: string, tag: string): boolean {
  if (!path.endsWith(".gguf")) return false;
  const name = ggufStem(path.slice(path.lastIndexOf("/") + 1)).toLowerCase();
  return ["-", ".", "_"].some((sign) => name.endsWith(`${sign}${tag.toLowerCase()}`));
}

/**
 * Whether a file's path, as a hub tells it, stays in the folder that it is put in on any system: no "..", nothing
 * absolute, no drive, no other separator.
 */
export function staysInside(path: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\\:\u0000-\u001f\u007f]/.test(path)) return false;
  return path.split("/").every((segment) => segment !== "" && segment !== "." && segment !== "..");
}

/** @throws ModelError "file_invalid" for a path that does not stay inside */
export function checkPath(path: string, source: string): void {
  if (staysInside(path)) return;
  throw new ModelError(
    "file_invalid",
    `${source} has a file named ${JSON.stringify(path)}: nothing is taken from there`,
  );
}
