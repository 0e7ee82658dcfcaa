import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

let found: string | undefined;

/**
 * The package's own folder, the same whether this file runs as TypeScript source or compiled under dist/.
 * Throws when no folder above has a package.json named "sparq".
 */
export function packageRoot(): string {
  found ??= findRoot(dirname(fileURLToPath(import.meta.url)));
  return found;
}

function findRoot(start: string): string {
  for (let folder = start; ; folder = dirname(folder)) {
    const manifest = join(folder, "package.json");
    if (existsSync(manifest) && JSON.parse(readFileSync(manifest, "utf8")).name === "sparq") return folder;
    if (dirname(folder) === folder) throw new Error(`no package.json named "sparq" in ${start} or above`);
  }
}
