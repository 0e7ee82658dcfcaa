import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { importGguf } from "../../../models/gguf/import.ts";
import { openSafetensors } from "../../../models/safetensors/reader.ts";
import { idsOf, knownRows, logitsOf, variantNamed } from "../../support/checkpoints.ts";
import { type MetadataToWrite, type TensorToWrite, writeGguf } from "../../support/gguf-file.ts";
import { goldenPath, maxDifference } from "../../support/golden.ts";
import { openFor, SequenceRunner } from "../../support/sequence-runner.ts";

const folder = mkdtempSync(join(tmpdir(), "sparq-gguf-neox-"));
afterAll(() => rmSync(folder, { recursive: true }));

const HEADS = 2;

/** Hugging Face's names to GGUF's, as llama.cpp's converter has them. */
const names: readonly (readonly [RegExp, string])[] = [
  [/^gpt_neox\.embed_in\./, "token_embd."],
  [/^gpt_neox\.final_layer_norm\./, "output_norm."],
  [/^embed_out\./, "output."],
  [/^gpt_neox\.layers\.(\d+)\.input_layernorm\./, "blk.$1.attn_norm."],
  [/^gpt_neox\.layers\.(\d+)\.attention\.query_key_value\./, "blk.$1.attn_qkv."],
  [/^gpt_neox\.layers\.(\d+)\.attention\.dense\./, "blk.$1.attn_output."],
  [/^gpt_neox\.layers\.(\d+)\.post_attention_layernorm\./, "blk.$1.ffn_norm."],
  [/^gpt_neox\.layers\.(\d+)\.mlp\.dense_h_to_4h\./, "blk.$1.ffn_up."],
  [/^gpt_neox\.layers\.(\d+)\.mlp\.dense_4h_to_h\./, "blk.$1.ffn_down."],
];

/** The golden checkpoint's tensors as that converter writes them: q of all heads, then k, then v. */
function tensorsOf(file: string): TensorToWrite[] {
  const checkpoint = openSafetensors(goldenPath("checkpoints", file));
  const tensors = [...checkpoint.tensors.values()].flatMap((tensor) => {
    const [pattern, name] = names.find(([known]) => known.test(tensor.name)) ?? [];
    if (!pattern) return [];
    const bytes = checkpoint.read(tensor);
    const part = bytes.length / (3 * HEADS);
    const order = Array.from({ length: 3 * HEADS }, (_, i) => 3 * (i % HEADS) + Math.floor(i / HEADS));
    const grouped = Buffer.concat(order.map((i) => bytes.subarray(i * part, (i + 1) * part)));
    return [
      {
        name: tensor.name.replace(pattern, name!),
        type: { F32: 0, F16: 1, BF16: 30 }[tensor.dtype as "F32" | "F16" | "BF16"],
        shape: tensor.shape,
        bytes: tensor.name.includes("query_key_value") ? grouped : bytes,
      },
    ];
  });
  checkpoint.close();
  return tensors;
}

const metadata: MetadataToWrite = {
  "general.architecture": "gptneox",
  "gptneox.block_count": 2,
  "gptneox.context_length": 64,
  "gptneox.embedding_length": 32,
  "gptneox.feed_forward_length": 64,
  "gptneox.attention.head_count": HEADS,
  "gptneox.rope.dimension_count": 4,
  "gptneox.attention.layer_norm_epsilon": 1e-5,
  "gptneox.use_parallel_residual": true,
  "tokenizer.ggml.model": "gpt2",
  "tokenizer.ggml.pre": "olmo",
  "tokenizer.ggml.tokens": Array.from({ length: 64 }, (_, i) => String.fromCharCode(48 + i)),
  "tokenizer.ggml.token_type": new Array<number>(64).fill(1),
  "tokenizer.ggml.merges": ["0 1"],
  "tokenizer.ggml.eos_token_id": 2,
};
const tokens = metadata["tokenizer.ggml.tokens"] as string[];
tokens[63] = "01";

describe("a GGUF of GPT-NeoX", () => {
  it.each([
    ["gpt_neox", {}],
    ["gpt_neox-serial", { "gptneox.use_parallel_residual": false }],
  ])("gives transformers' logits: %s", async (name, changes) => {
    const variant = variantNamed(name);
    const path = writeGguf(join(folder, `${name}.gguf`), { ...metadata, ...changes }, tensorsOf(variant.files[0]!));
    const model = await importGguf(path);
    expect(model.config).toMatchObject({ modelType: "gpt_neox", rotaryDim: 4, headDim: 16, activation: "gelu" });
    const session = await openFor(model, variant.tokens);
    try {
      const logits = await new SequenceRunner(session).runChunks(idsOf(variant), [variant.tokens]);
      const expected = logitsOf(variant);
      const scale = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      expect(maxDifference(knownRows(variant, logits), expected) / scale).toBeLessThan(3e-5);
    } finally {
      session.close();
    }
  });

  it.each([
    [{ "gptneox.rope.dimension_count": 18 }, "gptneox.rope.dimension_count is 18; it must be an even number, at most"],
    [{ "gptneox.rope.dimension_count": 3 }, "gptneox.rope.dimension_count is 3"],
    [{ "gptneox.attention.head_count_kv": 1 }, "every one of the 2 heads has keys of its own"],
    [{ "gptneox.block_count": 3 }, "its tensors are of 2 blocks, the last blk.1; block_count is 3"],
    [{ "gptneox.feed_forward_length": 32 }, '"blk.0.ffn_up.weight" has shape [64, 32]; by the metadata it is [32, 32]'],
    [{ "general.architecture": "constructor" }, 'general.architecture is "constructor"; supported: llama, gptneox'],
  ])("is refused by name: %j", async (changes, message) => {
    const path = writeGguf(join(folder, "bad.gguf"), { ...metadata, ...changes }, tensorsOf("gpt_neox.safetensors"));
    await expect(importGguf(path)).rejects.toThrow(message);
  });
});
