import { readFileSync, renameSync, statSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { weightsFile } from "../../../models/cache.ts";
import { loadModel } from "../../../models/load.ts";
import { openSafetensors } from "../../../models/safetensors/reader.ts";
import type { LoadModelOptions, PreparedModel } from "../../../models/types.ts";
import { type CheckpointVariant, idsOf, variantNamed, writeCheckpoint } from "../../support/checkpoints.ts";
import { safetensorsBytes } from "../../support/safetensors-file.ts";
import { openFor, SequenceRunner } from "../../support/sequence-runner.ts";
import { removeTemporaryFolders, temporaryFolder } from "../exports.ts";

removeTemporaryFolders();

const llama = variantNamed("llama");
const folderOf = (variant: CheckpointVariant) => writeCheckpoint(temporaryFolder(), variant);
const copiedBytes = ({ graphPath }: PreparedModel) => statSync(join(dirname(graphPath), weightsFile)).size;

/** A session on a checkpoint, with a way to run its known tokens. */
async function opened(folder: string, variant: CheckpointVariant, options: LoadModelOptions = {}) {
  const model = await loadModel(folder, options);
  const session = await openFor(model, variant.tokens);
  const run = () => new SequenceRunner(session).runChunks(idsOf(variant), [7, 1]);
  return { model, session, run };
}

async function logitsOf(folder: string, variant: CheckpointVariant, options: LoadModelOptions = {}) {
  const { model, session, run } = await opened(folder, variant, options);
  try {
    return { model, logits: await run() };
  } finally {
    session.close();
  }
}

describe("weights that stay in the checkpoint", () => {
  it.each(["llama", "llama-odd", "llama-f32", "qwen2", "qwen3-bias", "phi3", "gemma", "gpt_neox"])(
    "give the same bits as a copy: %s",
    async (name) => {
      const variant = variantNamed(name);
      const folder = folderOf(variant);
      const mapped = await logitsOf(folder, variant);
      const copied = await logitsOf(folder, variant, { weights: "copied" });
      expect(mapped.logits).toEqual(copied.logits);
      expect(mapped.model.graphPath).not.toBe(copied.model.graphPath);
      // Only vectors of a kilobyte and more are left to copy, and in two shards what is in both.
      expect(copiedBytes(mapped.model)).toBeLessThan(0.5 * copiedBytes(copied.model));
      const { weightBytes } = mapped.model.report;
      expect(weightBytes).toBeLessThanOrEqual(copied.model.report.weightBytes);
      expect(weightBytes).toBeGreaterThan(copiedBytes(mapped.model));
    },
  );

  it("may begin at any byte", async () => {
    const folder = folderOf(llama);
    const { logits } = await logitsOf(folder, llama);
    const path = join(folder, "model.safetensors");
    const file = openSafetensors(path);
    const tensors = [...file.tensors.values()].map((tensor) => ({ ...tensor, bytes: file.read(tensor) }));
    file.close();
    for (const padding of [0, 1, 2, 5]) {
      writeFileSync(path, safetensorsBytes(tensors, { padding }));
      expect((await logitsOf(folder, llama)).logits, `${padding} bytes`).toEqual(logits);
    }
  });

  it("are still there after another file has taken the name", async () => {
    const folder = folderOf(llama);
    const path = join(folder, "model.safetensors");
    const { session, run } = await opened(folder, llama);
    try {
      const before = await run();
      writeFileSync(`${path}.new`, "nothing of the kind");
      renameSync(`${path}.new`, path);
      expect(await run()).toEqual(before);
    } finally {
      session.close();
    }
  });

  it.each([
    ["cut", (path: string) => truncateSync(path, 100), /has changed while it is used: it had \d+ bytes, now 100/],
    ["written to", (path: string) => writeFileSync(path, readFileSync(path)), /somebody has written to it/],
  ])("fail a step after the file was %s, not the process", async (_, change, message) => {
    const folder = folderOf(llama);
    const path = join(folder, "model.safetensors");
    const { session, run } = await opened(folder, llama);
    try {
      await run();
      session.session.checkFiles();
      change(path);
      expect(() => session.session.checkFiles()).toThrow(message);
      await expect(run()).rejects.toThrow(message);
      await expect(run()).rejects.toThrow(path);
    } finally {
      session.close();
    }
  });

  it("are refused when a session opens on a file that is another by then", async () => {
    const folder = folderOf(llama);
    const path = join(folder, "model.safetensors");
    const model = await loadModel(folder);
    utimesSync(path, 1, 1);
    await expect(openFor(model, 64)).rejects.toThrow(`${path} has changed`);
    // Loading it again makes a graph for the file as it is now.
    expect((await logitsOf(folder, llama)).model.cached).toBe(false);
  });
});
