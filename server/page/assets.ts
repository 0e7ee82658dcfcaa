import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { extname, join } from "node:path";
import { packageRoot } from "../../attention/root.ts";

/** A file of the page, as it goes out. */
export interface Asset {
  readonly body: Uint8Array<ArrayBuffer>;
  readonly type: string;
  /** Of the content, with its quotes. */
  readonly etag: string;
}

const types: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
};

/** The libraries' files, by the names that the page's import map and style sheets know. */
const libraries: Readonly<Record<string, string>> = {
  "preact.js": "preact",
  "preact-hooks.js": "preact/hooks",
  "preact-jsx-runtime.js": "preact/jsx-runtime",
  "marked.js": "marked",
  "uplot.js": "uplot/dist/uPlot.esm.js",
  "uplot.css": "uplot/dist/uPlot.min.css",
};

/**
 * Everything that the page loads, by its path under assets/: the compiled modules, the style sheets and the icon, and the
 * libraries from where npm put them. `index.html` is among them. Throws if the modules are not compiled.
 */
export function readAssets(): ReadonlyMap<string, Asset> {
  const source = join(packageRoot(), "server", "page", "app");
  const compiled = join(packageRoot(), "dist", "server", "page", "app");
  if (!existsSync(join(compiled, "main.js"))) {
    throw new Error(`the page is not compiled: ${compiled} has no main.js; run \`npm run setup\``);
  }
  const require = createRequire(import.meta.url);
  const files = new Map([
    ...filesIn(source, ".html", ".css", ".svg"),
    ...filesIn(compiled, ".js"),
    ...Object.entries(libraries).map(([name, id]): [string, string] => [`lib/${name}`, require.resolve(id)]),
  ]);
  return new Map([...files].map(([name, path]) => [name, assetOf(name, path)]));
}

function filesIn(folder: string, ...extensions: readonly string[]): [string, string][] {
  const names = readdirSync(folder).filter((name) => extensions.includes(extname(name)));
  return names.map((name) => [name, join(folder, name)]);
}

function assetOf(name: string, path: string): Asset {
  // Source maps are not served; a browser with open tools would ask for them.
  const text = readFileSync(path, "utf8").replace(/\n\/\/# sourceMappingURL=.*\s*$/, "\n");
  const etag = `"${createHash("sha256").update(text).digest("base64url").slice(0, 22)}"`;
  return { body: new TextEncoder().encode(text), type: types[extname(name)]!, etag };
}
