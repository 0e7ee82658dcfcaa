// Makes a checkout ready to run: installs the locked packages, builds the addon and compiles the TypeScript, each only
// when something changed. Uses nothing but Node itself, since it runs before anything is installed.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const quiet = process.argv.includes("--quiet");

function fail(message) {
  console.error(`sparq setup: ${message}`);
  process.exit(1);
}

/** Runs a command with its output on stderr, so that stdout stays the program's own. */
function run(what, command, args, options = {}) {
  const started = Date.now();
  const result = spawnSync(command, args, { cwd: root, stdio: ["ignore", quiet ? "pipe" : 2, 2], ...options });
  if (result.error) fail(`${what}: cannot run ${command}: ${result.error.message}`);
  if (result.status !== 0) fail(`${what} failed: ${command} ${args.join(" ")} exited with ${result.status}`);
  return (Date.now() - started) / 1000;
}

function checkNode() {
  const wanted = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
    .engines.node.match(/\d+/g)
    .map(Number);
  const have = process.versions.node.split(".").map(Number);
  const older = have[0] < wanted[0] || (have[0] === wanted[0] && have[1] < wanted[1]);
  if (older) fail(`needs Node ${wanted.join(".")} or newer; this is ${process.versions.node}`);
}

function needTool(name, hint) {
  if (spawnSync(name, ["--version"], { stdio: "ignore" }).status !== 0) fail(`needs ${name} (${hint})`);
}

/** Packages are current when the lock file that installed them is the one in the checkout. */
function installPackages() {
  const stamp = join(root, "node_modules", ".sparq-lock");
  const hash = createHash("sha256")
    .update(readFileSync(join(root, "package-lock.json")))
    .digest("hex");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === hash) return;
  console.error("sparq setup: installing packages");
  // No package of ours needs its install script; onnxruntime-node's would download GPU libraries.
  run("npm ci", process.platform === "win32" ? "npm.cmd" : "npm", ["ci", "--ignore-scripts", "--loglevel=error"]);
  writeFileSync(stamp, hash);
  // What tsc remembers of a package that was not there would outlive its coming.
  for (const folder of ["dist", "dist/server/page/app"]) rmSync(join(root, folder, ".tsbuildinfo"), { force: true });
}

function buildAddon() {
  const addon = join(root, "attention/native/build/sparq.node");
  if (!existsSync(addon)) {
    needTool("make", "Debian: apt install make");
    needTool(process.env.CXX ?? "g++", "Debian: apt install g++");
    console.error("sparq setup: building the native addon");
  }
  run("addon build", "make", ["-s", "-C", "attention/native", `-j${availableParallelism()}`]);
}

function compile() {
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  // What runs in Node, and the page, which runs in a browser.
  for (const project of ["tsconfig.build.json", "server/page/app/tsconfig.json"])
    run("tsc", process.execPath, [tsc, "-p", project]);
}

/** One setup at a time in a checkout: `npm start` and `npm test` may be started together. */
function withLock(action) {
  const lock = join(root, ".setup-lock");
  const deadline = Date.now() + 15 * 60_000;
  for (;;) {
    try {
      mkdirSync(lock);
      break;
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
      const age = Date.now() - (statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
      if (age > 20 * 60_000) rmSync(lock, { recursive: true, force: true });
      else if (Date.now() > deadline) fail(`another setup holds ${lock}; delete it if none is running`);
      else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
    }
  }
  const release = () => rmSync(lock, { recursive: true, force: true });
  process.on("exit", release);
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(130));
  action();
}

checkNode();
withLock(() => {
  installPackages();
  buildAddon();
  compile();
});
