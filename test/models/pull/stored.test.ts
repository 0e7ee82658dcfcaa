import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { pull } from "../../../models/pull/index.ts";
import { checkSpace, withStaging } from "../../../models/pull/store.ts";
import { listStored, removeStored } from "../../../models/pull/stored.ts";
import { locateModel } from "../../../models/registry.ts";
import { runCli } from "../../support/cli.ts";

let folder: string;
let cacheDir: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sparq-stored-"));
  cacheDir = join(folder, "cache");
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

const models = () => join(cacheDir, "models");
const put = (path: string, text = "x") => {
  mkdirSync(join(folder, path, ".."), { recursive: true });
  writeFileSync(join(folder, path), text);
  return join(folder, path);
};

describe("a model of a path", () => {
  it("is copied with what serving needs, links followed", async () => {
    for (const name of ["config.json", "tokenizer.json", "onnx/model.onnx", "notes.txt"]) put(`my model/${name}`, name);
    symlinkSync(put("blobs/1", "data"), join(folder, "my model/onnx/model.onnx_data"));
    const model = await pull(join(folder, "my model"), { cacheDir });
    expect(model).toEqual({ name: "my model", path: join(models(), "my%20model"), present: false });
    expect(readdirSync(join(model.path, "onnx"))).toEqual(["model.onnx", "model.onnx_data"]);
    expect(readFileSync(join(model.path, "onnx/model.onnx_data"), "utf8")).toBe("data");
    expect(readdirSync(model.path)).not.toContain("notes.txt");
    rmSync(join(folder, "my model"), { recursive: true });
    expect(locateModel("my model", cacheDir)).toEqual({ name: "my model", path: model.path, origin: "pulled" });
  });

  it("may be a file, with a name of its own", async () => {
    const path = put("m-Q8_0.gguf", "GGUF");
    const options = { cacheDir, name: "mine/eight", onProgress: vi.fn() };
    const model = await pull(path, options);
    expect(model.path).toBe(join(models(), "mine%2Feight", "m-Q8_0.gguf"));
    expect(locateModel("mine/eight", cacheDir).path).toBe(model.path);
    expect(options.onProgress).toHaveBeenLastCalledWith(4, 4, "copying m-Q8_0.gguf");
    writeFileSync(path, "other");
    await pull(path, options);
    expect(readFileSync(model.path, "utf8")).toBe("other");
    expect(readdirSync(models())).toEqual(["mine%2Feight"]);
  });

  it("may be a graph beside which its data lie, in onnx/ or not", async () => {
    for (const name of ["config.json", "tokenizer.json", "onnx/model_q4.onnx"]) put(`a/${name}`, name);
    const { path } = await pull(join(folder, "a/onnx/model_q4.onnx"), { cacheDir });
    expect(path).toBe(join(models(), "a", "onnx", "model_q4.onnx"));
    expect(readdirSync(join(models(), "a")).sort()).toEqual([
      ".sparq-pull.json",
      "config.json",
      "onnx",
      "tokenizer.json",
    ]);
  });

  it.each<[string, object, RegExp]>([
    ["tiny-llama", {}, /tiny-llama is a built-in model.*--name/],
    ["any", { name: "../x" }, /"\.\.\/x" is no name/],
    ["any", { name: "" }, /"" is no name/],
    ["any", { name: "x".repeat(300) }, /too long for a folder/],
    ["any", { from: "x" }, /--from goes with a name of the catalogue/],
  ])("called %s with %j is refused", async (name, options, message) => {
    const path = put(`${name}.gguf`);
    await expect(pull(path, { cacheDir, ...options })).rejects.toThrow(message);
  });

  it("that is not there has no name to give", async () => {
    await expect(pull("org/model", { cacheDir, name: "x" })).rejects.toThrow("--name goes with a path");
    await expect(pull("tiny-llama", { cacheDir })).rejects.toThrow("is built in and needs no pulling");
  });
});

describe("stored models", () => {
  it("are listed with their size, source and time, unfinished ones too, and removed", async () => {
    await pull(put("m.gguf", "GGUF"), { cacheDir, name: "a/b" });
    put("cache/models/by-hand/model.gguf", "12345");
    put("cache/models/100%/model.gguf", "1");
    put("cache/models/a%2Fb/.sparq/graph/model.onnx", "123");
    put("cache/models/.pulling-org%2Fc/sha256-1.partial", "12");
    const stored = listStored(cacheDir).filter(({ state }) => state !== "built-in");
    const manifest = readFileSync(join(models(), "a%2Fb", ".sparq-pull.json"));
    expect(stored).toEqual([
      {
        name: "100%",
        source: "put there by hand",
        bytes: 1,
        pulledAt: null,
        path: join(models(), "100%"),
        state: "pulled",
      },
      {
        name: "a/b",
        source: join(folder, "m.gguf"),
        bytes: 4 + 3 + manifest.length,
        pulledAt: JSON.parse(String(manifest)).pulledAt,
        path: join(models(), "a%2Fb", "m.gguf"),
        state: "pulled",
      },
      expect.objectContaining({ name: "by-hand", bytes: 5 }),
      expect.objectContaining({ name: "org/c", bytes: 2, state: "unfinished" }),
    ]);
    expect(removeStored("a/b", cacheDir)).toBe(4 + 3 + manifest.length);
    expect(removeStored("org/c", cacheDir)).toBe(2);
    expect(readdirSync(models()).sort()).toEqual(["100%", "by-hand"]);
    expect(() => removeStored("a/b", cacheDir)).toThrow('no pulled model "a/b"; there is 100%, by-hand');
    expect(() => removeStored("../models/by-hand", cacheDir)).toThrow("no pulled model");
    expect(() => removeStored("tiny-llama", cacheDir)).toThrow("is built in and stays");
  });

  it("are listed and removed by commands", async () => {
    vi.stubEnv("SPARQ_CACHE", cacheDir);
    const path = put("m.gguf", "GGUF");
    expect(await runCli(["pull", path, "--name", "mine"])).toMatchObject({
      exitCode: 0,
      out: `mine is in the cache now (${join(models(), "mine", "m.gguf")}); use it with --model mine\n`,
      err: "copying m.gguf\n",
    });
    const { out } = await runCli(["list"]);
    expect(out).toMatch(/^NAME +SIZE +PULLED \(UTC\) +SOURCE +PATH\ntiny-llama +[\d.]+ MB +- +built-in /);
    expect(out).toMatch(/\nmine +\d+ B +\d{4}-\d\d-\d\d \d\d:\d\d +\S+\/m\.gguf +\S+\/mine\/m\.gguf\n$/);
    const listed = JSON.parse((await runCli(["list", "--json"])).out);
    expect(listed).toEqual(JSON.parse(JSON.stringify(listStored())));
    expect(await runCli(["rm", "mine"])).toMatchObject({
      exitCode: 0,
      out: expect.stringMatching(/^removed mine: \d+ B/),
    });
    expect(await runCli(["rm", "mine"])).toMatchObject({
      exitCode: 1,
      err: expect.stringContaining("no pulled model"),
    });
  });

  it("with a damaged manifest are still models", () => {
    put("cache/models/x/.sparq-pull.json", "{");
    put("cache/models/y/.sparq-pull.json", JSON.stringify({ source: "s", files: [], main: "../../../etc/passwd" }));
    expect(locateModel("x", cacheDir).path).toBe(join(models(), "x"));
    expect(locateModel("y", cacheDir).path).toBe(join(models(), "y"));
  });
});

describe("a pull", () => {
  it("of a name is alone, unless the other one is dead", async () => {
    await withStaging(models(), "a/b", async ({ incoming }) => {
      const again = () => withStaging(models(), "a/b", async () => 1);
      await expect(again()).rejects.toThrow(`a/b is being pulled by process ${process.pid} on ${hostname()}`);
      writeFileSync(join(incoming, "lock"), "1 another-host");
      await expect(again()).rejects.toThrow(/process 1 on another-host; if that has ended, remove .*lock/);
      writeFileSync(join(incoming, "lock"), `999999999 ${hostname()}`);
      expect(await again()).toBe(1);
    });
  });

  it("is refused before it begins where it does not fit", () => {
    const statfs = () => ({ bavail: 1000, bsize: 4096 });
    expect(() => checkSpace("/models", 4_096_000, "a/b", statfs)).not.toThrow();
    expect(() => checkSpace("/models", 4_096_001, "a/b", statfs)).toThrow(
      "a/b needs 4.1 MB more, and /models has 4.1 MB free",
    );
  });
});
