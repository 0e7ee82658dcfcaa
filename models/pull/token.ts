import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { ModelError, messageOf } from "../errors.ts";

/** A token, and the variable or file that it is from. */
export interface HubToken {
  readonly token: string | undefined;
  readonly tokenSource?: string;
}

const OWN_HUB = "https://huggingface.co";

/**
 * The token that Hugging Face's own tools would show: HF_TOKEN's (or HUGGING_FACE_HUB_TOKEN's, its old name), else what `hf auth login` left in a
 * file, unless HF_HUB_DISABLE_IMPLICIT_TOKEN is set. A file that nobody has named (by HF_TOKEN_PATH) is for their own hub: another
 * `endpoint`, a mirror for one, does not get it.
 * @throws ModelError "access_denied" for a file that is there and cannot be read
 */
export function hubToken(endpoint: string, environment: NodeJS.ProcessEnv = process.env): HubToken {
  for (const name of ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]) {
    const token = cleaned(environment[name]);
    if (token) return { token, tokenSource: name };
  }
  if (/^(1|on|yes|true)$/i.test(environment.HF_HUB_DISABLE_IMPLICIT_TOKEN ?? "")) return { token: undefined };
  if (!environment.HF_TOKEN_PATH && new URL(endpoint).origin !== OWN_HUB) return { token: undefined };
  const path = tokenPath(environment);
  const token = cleaned(contentOf(path));
  return token ? { token, tokenSource: path } : { token: undefined };
}

/** HF_TOKEN_PATH, else `token` in HF_HOME, which is by default in the user's cache folder. */
function tokenPath(environment: NodeJS.ProcessEnv): string {
  const { HF_TOKEN_PATH: path, HF_HOME: home, XDG_CACHE_HOME: cache } = environment;
  if (path) return withHome(path);
  return join(withHome(home || join(cache || join("~", ".cache"), "huggingface")), "token");
}

function withHome(path: string): string {
  return path === "~" || path.startsWith("~/") ? join(homedir(), path.slice(1)) : path;
}

function contentOf(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw new ModelError("access_denied", `the hub's token cannot be read: ${messageOf(error)}`, { cause: error });
  }
}

/** Files and variables end in line feeds, which no header may have. */
function cleaned(text: string | undefined): string | undefined {
  return text?.replace(/[\r\n]/g, "").trim() || undefined;
}
