import { existsSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { packageRoot } from "./root.ts";
import type { NativeAddon } from "./types.ts";

const require = createRequire(import.meta.url);
let addon: NativeAddon | undefined;

/** Where `make -C attention/native` puts the addon. */
export function addonPath(): string {
  return join(packageRoot(), "attention/native/build/sparq.node");
}

/** The native addon. Throws an error that says how to build it when it is not there, or why it does not load. */
export function loadAddon(): NativeAddon {
  addon ??= requireAddon(addonPath());
  return addon;
}

function requireAddon(path: string): NativeAddon {
  if (!existsSync(path)) {
    throw new Error(`the native addon ${path} is not built; run: npm run setup (in ${packageRoot()})`);
  }
  try {
    return require(path) as NativeAddon;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`the native addon ${path} does not load (${reason}); rebuild it: make -C attention/native`, {
      cause,
    });
  }
}

/**
 * The shared library of ONNX Runtime inside the onnxruntime-node package: the very file that the package's own binding is
 * linked to, so that both share one mapping. Throws where the package has none.
 */
export function runtimeLibraryPath(platform: string = process.platform, arch: string = process.arch): string {
  // The entry point is <package>/dist/index.js.
  const packageFolder = dirname(dirname(require.resolve("onnxruntime-node")));
  const binaries = join(packageFolder, "bin");
  const name = platform === "darwin" ? "libonnxruntime.1.dylib" : "libonnxruntime.so.1";
  for (const napiVersion of readdirSync(binaries)) {
    const library = join(binaries, napiVersion, platform, arch, name);
    if (existsSync(library)) return library;
  }
  throw new Error(`${packageFolder} has no ONNX Runtime library ${name} for ${platform} ${arch}`);
}
