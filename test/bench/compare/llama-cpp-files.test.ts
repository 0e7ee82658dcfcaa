import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { locateLlamaCpp } from "../../../bench/compare/llama-cpp-files.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sparq-peer-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** A package as npm would install it, found by its own name only. */
function installed(name: string, version: string) {
  const root = join(folder, name);
  mkdirSync(join(root, "dist"), { recursive: true });
  writeFileSync(join(root, "package.json"), JSON.stringify({ name, version }));
  const resolve = (wanted: string) => {
    if (wanted !== name) throw new Error(`Cannot find module '${wanted}'`);
    return join(root, "dist", "index.js");
  };
  return { root, resolve };
}

it("finds the libraries of the package for this machine", () => {
  const { root, resolve } = installed("@node-llama-cpp/linux-x64", "3.21.1");
  expect(locateLlamaCpp({ platform: "linux x64", resolve })).toEqual({ libraries: join(root, "bins", "linux-x64") });
});

it("says how to install what is missing", () => {
  const { resolve } = installed("@node-llama-cpp/linux-x64", "3.21.1");
  expect(locateLlamaCpp({ platform: "linux arm64", resolve })).toEqual({
    missing: expect.stringMatching(
      /^llama\.cpp is not installed; .*npm install --no-save @node-llama-cpp\/linux-arm64@3\.21\.1/,
    ),
  });
});

it("takes no other version than the one its structs are declared for", () => {
  const { resolve } = installed("@node-llama-cpp/linux-x64", "3.20.0");
  expect(locateLlamaCpp({ platform: "linux x64", resolve })).toEqual({
    missing: expect.stringMatching(/is 3\.20\.0 in .*needs 3\.21\.1: npm install --no-save/),
  });
});

it("says where it cannot be compared", () => {
  const { resolve } = installed("@node-llama-cpp/linux-x64", "3.21.1");
  expect(locateLlamaCpp({ platform: "darwin arm64", resolve })).toEqual({
    missing: "llama.cpp is compared on linux x64 and linux arm64 only, this is darwin arm64",
  });
});
