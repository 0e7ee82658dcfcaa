import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { removeTemporaryFolders, temporaryFolder } from "../models/exports.ts";
import { variantNamed, writeCheckpoint } from "../support/checkpoints.ts";
import { runCli } from "../support/cli.ts";

removeTemporaryFolders();

const folderOf = (name: string) => writeCheckpoint(temporaryFolder(), variantNamed(name));
/** The graphs that were prepared for a checkpoint, by the name of what they were made for. */
const preparedIn = (folder: string) => readdirSync(join(folder, ".sparq"));

describe("what a model is loaded with", () => {
  it("goes into sparq inspect", async () => {
    const folder = folderOf("qwen2");
    const { out, exitCode } = await runCli(["inspect", folder, "--quantize", "int8", "--json"]);
    expect(exitCode).toBe(0);
    expect(JSON.parse(out).weights.kind).toContain("as int8");
    const longer = folderOf("llama-dynamic-beyond");
    const context = async (...flags: string[]) => {
      return JSON.parse((await runCli(["inspect", longer, "--json", ...flags])).out).contextLength;
    };
    expect([await context(), await context("--max-context", "48")]).toEqual([24, 48]);
  });

  it.each([
    ["decode", ["--context", "16", "--rounds", "1"]],
    ["throughput", ["--requests", "2", "--input-tokens", "8", "--output-tokens", "4", "--batch", "1", "--rounds", "1"]],
  ])("goes into sparq bench %s", async (command, flags) => {
    const folder = folderOf("qwen2");
    const { exitCode, err } = await runCli([
      ...["bench", command, "--model", folder, "--quantize", "int4", "--threads", "1"],
      ...flags,
    ]);
    expect(exitCode, err).toBe(0);
    expect(preparedIn(folder)).toEqual(["safetensors-int4"]);
  });

  it.each([[["inspect", "tiny-llama"]], [["bench", "decode"]], [["eval"]]])(
    "must be something that there is: %s",
    async (command) => {
      const { exitCode, err } = await runCli([...command, "--quantize", "int3"]);
      expect(exitCode).toBe(2);
      expect(err).toMatch(/--quantize.*'int3' is invalid.*int4, int8/);
    },
  );
});
