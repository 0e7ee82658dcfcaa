import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { importGguf } from "../../../models/gguf/import.ts";
import { writeCheckpointGguf } from "../../support/checkpoint-gguf.ts";
import { variantNamed } from "../../support/checkpoints.ts";

const folder = mkdtempSync(join(tmpdir(), "sparq-gguf-neox-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Its logits are compared in parity.test.ts. */
describe("a GGUF of GPT-NeoX", () => {
  it("has the configuration of its metadata", async () => {
    const { config } = await importGguf(writeCheckpointGguf(folder, variantNamed("gpt_neox")));
    expect(config).toMatchObject({ modelType: "gpt_neox", rotaryDim: 4, headDim: 16, activation: "gelu" });
  });

  it.each([
    [{ "gptneox.rope.dimension_count": 18 }, "gptneox.rope.dimension_count is 18; it must be an even number, at most"],
    [{ "gptneox.rope.dimension_count": 3 }, "gptneox.rope.dimension_count is 3"],
    [{ "gptneox.attention.head_count_kv": 1 }, "every one of the 2 heads has keys of its own"],
    [{ "gptneox.block_count": 3 }, "its tensors are of 2 blocks, the last blk.1; block_count is 3"],
    [{ "gptneox.feed_forward_length": 32 }, '"blk.0.ffn_up.weight" has shape [64, 32]; by the metadata it is [32, 32]'],
    [{ "general.architecture": "constructor" }, 'general.architecture is "constructor"; supported: llama, gptneox'],
  ])("is refused by name: %j", async (changes, message) => {
    const path = writeCheckpointGguf(folder, variantNamed("gpt_neox"), changes);
    await expect(importGguf(path)).rejects.toThrow(message);
  });
});
