import { createHash, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";

/** Who sent a request, as far as its API key tells. Nothing here gives the key away. */
export interface Tenant {
  /** The first 48 bits of the key's SHA-256 in hex: short enough for logs. */
  readonly id: string;
  /** All of it. */
  readonly hash: string;
}

/** The keys that a server takes. Keeps their hashes only. */
export class ApiKeys {
  private readonly hashes: readonly Buffer[];

  /** Throws Error for a key that no header can carry; the message tells its place, not the key. */
  constructor(keys: readonly string[]) {
    const wrong = keys.findIndex((key) => !/^[\x21-\x7e]+$/.test(key));
    if (wrong >= 0)
      throw new Error(`API key ${wrong + 1} of ${keys.length} is empty or has characters besides visible ASCII`);
    this.hashes = [...new Set(keys)].map(hashOf);
  }

  get size(): number {
    return this.hashes.length;
  }

  /** Whose key this is, null for nobody's. Takes the same time whichever key it is, and however much of one it equals. */
  tenantOf(given: string): Tenant | null {
    const hash = hashOf(given);
    let known = false;
    for (const own of this.hashes) known = timingSafeEqual(own, hash) || known;
    if (!known) return null;
    const hex = hash.toString("hex");
    return { id: hex.slice(0, 12), hash: hex };
  }
}

/**
 * The keys of a file: one a line; blank lines and lines that begin with # are none. Throws Error that names the file if it
 * cannot be read or has no key: a server that was to have keys must not start without.
 */
export function readKeyFile(path: string): string[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new Error(`API key file ${path}: ${(error as NodeJS.ErrnoException).code ?? error}`, { cause: error });
  }
  const keys = text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
  if (keys.length === 0) throw new Error(`API key file ${path} has no key`);
  return keys;
}

function hashOf(key: string): Buffer {
  return createHash("sha256").update(key).digest();
}
