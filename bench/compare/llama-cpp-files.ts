import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { packageRoot } from "../../attention/root.ts";

/** The release of node-llama-cpp whose llama.cpp the peer is written for; see native/llama_abi.h. */
export const PEER_VERSION = "3.21.1";

const folders: Readonly<Record<string, string>> = { "linux x64": "linux-x64", "linux arm64": "linux-arm64" };
const run = promisify(execFile);

/** Where llama.cpp's libraries lie, or why it cannot be measured here. */
export type LocatedPeer = { readonly libraries: string } | { readonly missing: string };

export interface PeerSearch {
  readonly platform: string;
  /** Resolves a module's name to a file, or throws. */
  readonly resolve: (name: string) => string;
}

const here: PeerSearch = {
  platform: `${process.platform} ${process.arch}`,
  resolve: (name) => createRequire(join(packageRoot(), "package.json")).resolve(name),
};

/** Finds the libraries that node-llama-cpp ships for this machine, in a package of their own. */
export function locateLlamaCpp(search: PeerSearch = here): LocatedPeer {
  const folder = folders[search.platform];
  if (folder === undefined) {
    return {
      missing: `llama.cpp is compared on ${Object.keys(folders).join(" and ")} only, this is ${search.platform}`,
    };
  }
  const name = `@node-llama-cpp/${folder}`;
  const command = `npm install --no-save ${name}@${PEER_VERSION}`;
  let entry: string;
  try {
    entry = search.resolve(name);
  } catch {
    return { missing: `llama.cpp is not installed; get its libraries with: ${command} (in ${packageRoot()})` };
  }
  // The entry point is <package>/dist/index.js.
  const root = dirname(dirname(entry));
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  if (version !== PEER_VERSION) {
    return { missing: `${name} is ${version} in ${root}, the comparison needs ${PEER_VERSION}: ${command}` };
  }
  return { libraries: join(root, "bins", folder) };
}

/**
 * The program that runs llama.cpp, compiled when its source is new. Throws an error that says what failed: there may be no
 * compiler.
 */
export async function buildPeer(): Promise<string> {
  const folder = join(packageRoot(), "bench", "compare", "native");
  const sources = ["peer.cc", "llama_abi.h"].map((file) => readFileSync(join(folder, file)));
  const hash = createHash("sha256");
  for (const source of sources) hash.update(source);
  const build = join(packageRoot(), "build", "bench");
  const program = join(build, `llama-cpp-peer-${hash.digest("hex").slice(0, 12)}`);
  if (existsSync(program)) return program;
  mkdirSync(build, { recursive: true });
  const unfinished = `${program}.${process.pid}`;
  const compiler = process.env.CXX ?? "g++";
  try {
    await run(compiler, ["-O2", "-std=c++20", "-o", unfinished, join(folder, "peer.cc"), "-ldl"]);
  } catch (cause) {
    const { message, stderr = "" } = cause as Error & { stderr?: string };
    throw new Error(`${compiler} cannot build bench/compare/native/peer.cc: ${stderr || message}`, { cause });
  }
  renameSync(unfinished, program);
  return program;
}
