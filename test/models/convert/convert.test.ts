import { mkdirSync, readFileSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { linearStyle } from "../../../models/builder/style.ts";
import { graphFile, weightsFile } from "../../../models/cache.ts";
import { type Conversion, type ConvertOptions, convert } from "../../../models/convert/index.ts";
import { importGguf } from "../../../models/gguf/import.ts";
import { loadModel } from "../../../models/load.ts";
import { variantNamed, writeCheckpoint } from "../../support/checkpoints.ts";
import { goldenPath } from "../../support/golden.ts";
import { removeTemporaryFolders, temporaryFolder } from "../exports.ts";

removeTemporaryFolders();

type Source = Omit<Conversion, "folder">;

/** What is written, and what is said. */
async function converted(source: Source, options: ConvertOptions) {
  const folder = join(temporaryFolder(), "target");
  mkdirSync(folder);
  const progress: unknown[] = [];
  const onProgress = (...given: unknown[]) => progress.push(given);
  const report = await convert({ ...source, folder }, 1000, { ...options, onProgress });
  const [graph, weights] = [graphFile, weightsFile].map((name) => readFileSync(join(folder, name)));
  return { report, progress, graph, weights };
}

const inThreads = { threadFromBytes: 0, threads: 3 };
const here = { threadFromBytes: 1001 };

async function checkpoint(quantize?: "int4" | "int8"): Promise<Source & { path: string }> {
  const path = writeCheckpoint(temporaryFolder(), variantNamed("qwen2"));
  const { config } = await loadModel(path);
  return { format: "safetensors", path, config, style: linearStyle({}), quantize };
}

describe("conversions in threads", () => {
  it.each([undefined, "int8", "int4"] as const)("write the same as here: a checkpoint, quantised: %s", async (kind) => {
    const source = await checkpoint(kind);
    const threaded = await converted(source, inThreads);
    expect(threaded).toEqual(await converted(source, here));
    expect(threaded.progress.at(-1)).toEqual([3, 3, kind ? `quantising to ${kind}` : "converting weights"]);
  });

  it("write the same as here: a GGUF", async () => {
    const path = goldenPath("gguf", "tiny.gguf");
    const { config } = await importGguf(path, { cacheDir: temporaryFolder() });
    const source = { format: "gguf", path, config, style: linearStyle({}) } as const;
    expect(await converted(source, inThreads)).toEqual(await converted(source, here));
  });

  it("say what is wrong with a file", async () => {
    const source = await checkpoint("int8");
    const file = join(source.path, "model.safetensors");
    truncateSync(file, 1000);
    const failure = converted(source, inThreads);
    await expect(failure).rejects.toMatchObject({ name: "ModelError", code: "file_truncated" });
    await expect(failure).rejects.toThrow(file);
  });

  it("pass on what is nobody's fault but ours", async () => {
    const source = await checkpoint();
    await expect(convert({ ...source, folder: "/nowhere" }, 1000, inThreads)).rejects.toThrow(/ENOENT.*nowhere/);
  });
});
