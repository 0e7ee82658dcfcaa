import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { ggufConfig } from "../../../models/gguf/config.ts";
import { openGguf } from "../../../models/gguf/reader.ts";
import { ggufTokenizer } from "../../../models/gguf/tokenizer.ts";
import type { MetadataToWrite, TensorToWrite } from "../../support/gguf-file.ts";
import { writeGguf } from "../../support/gguf-file.ts";
import { llamaMetadata } from "../../support/gguf-llama.ts";

const folder = mkdtempSync(join(tmpdir(), "sparq-gguf-config-"));
afterAll(() => rmSync(folder, { recursive: true }));
const path = join(folder, "model.gguf");

/** The configuration of a file with the base metadata, changed; a key that is undefined is left out. */
async function configOf(changes: Record<string, unknown> = {}, tensors: readonly TensorToWrite[] = []) {
  const entries = Object.entries({ ...llamaMetadata, ...changes }).filter(([, value]) => value !== undefined);
  const file = await openGguf(writeGguf(path, Object.fromEntries(entries) as MetadataToWrite, tensors));
  try {
    return { config: ggufConfig(file), tokenizer: ggufTokenizer(file) };
  } finally {
    file.close();
  }
}

const yarn = { "llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4 };

const factors = (values: readonly number[]) => {
  const bytes = new Uint8Array(Float32Array.from(values).buffer);
  return { name: "rope_freqs.weight", type: 0, shape: [values.length], bytes };
};

describe("ggufConfig", () => {
  it("reads a llama", async () => {
    const { config } = await configOf();
    expect(config).toMatchObject({
      modelType: "llama",
      layers: 1,
      hiddenSize: 256,
      intermediateSize: 256,
      heads: 2,
      kvHeads: 1,
      headDim: 128,
      vocabSize: 40,
      maxPositions: 256,
      rotaryDim: 128,
      ropeScale: 1,
      tiedHead: true,
      bosTokenId: 0,
      eosTokenIds: [1],
    });
    expect(config.normEps).toBeCloseTo(1e-5, 12);
    expect(config.inverseFrequencies[1]).toBeCloseTo(10_000 ** (-2 / 128), 6);
  });

  it("takes sizes of heads that are not hidden size over heads, and several ends", async () => {
    const { config } = await configOf({
      "llama.attention.key_length": 32,
      "llama.attention.value_length": 32,
      "tokenizer.ggml.eot_token_id": 7,
      "tokenizer.ggml.eom_token_id": 1,
    });
    expect(config).toMatchObject({ headDim: 32, rotaryDim: 32, eosTokenIds: [1, 7] });
  });

  it("stretches rope by a linear factor or the file's own", async () => {
    const plain = (await configOf()).config.inverseFrequencies;
    const linear = (await configOf({ "llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4 })).config;
    expect(linear.inverseFrequencies).toEqual(plain.map((frequency) => frequency / 4));
    const older = (await configOf({ "llama.rope.scale_linear": 2 })).config;
    expect(older.inverseFrequencies).toEqual(plain.map((frequency) => frequency / 2));
    const by = Array.from(plain, (_, i) => 1 + i / 8);
    const own = (await configOf({}, [factors(by)])).config;
    expect(own.inverseFrequencies).toEqual(plain.map((frequency, i) => frequency / by[i]!));
    await expect(configOf({}, [factors([1, 2])])).rejects.toThrow(
      '"rope_freqs.weight" is F32 [2], F32 [64] was expected',
    );
  });

  it.each([
    [
      { "general.architecture": "mamba" },
      "unsupported_architecture",
      'general.architecture is "mamba"; supported: llama, gptneox',
    ],
    [{ "general.architecture": undefined }, "unsupported_architecture", "general.architecture is missing"],
    [{ "llama.block_count": undefined }, "unsupported_config", "llama.block_count is missing"],
    [{ "llama.embedding_length": 0 }, "unsupported_config", "llama.embedding_length is 0"],
    [{ "llama.attention.head_count_kv": 3 }, "unsupported_config", "head_count_kv is 3; it must divide the 2 heads"],
    [{ "llama.attention.value_length": 64 }, "unsupported_config", "value_length is 64; keys have 128"],
    [
      { "llama.rope.dimension_count": 64 },
      "unsupported_config",
      "dimension_count is 64; it must be the whole head of 128",
    ],
    [{ "llama.rope.scaling.type": "su" }, "unsupported_config", 'scaling.type is "su"; supported: none, linear, yarn'],
    [
      { "llama.rope.scaling.type": "yarn" },
      "unsupported_config",
      "rope.scaling.factor is missing; it must be a number",
    ],
    [{ ...yarn, "llama.rope.scaling.yarn_log_multiplier": 0.1 }, "unsupported_config", "yarn_log_multiplier is 0.1"],
    [{ ...yarn, "llama.rope.scaling.attn_factor": 2 }, "unsupported_config", "attn_factor is 2; only 1 is supported"],
    [{ "llama.expert_count": 8 }, "unsupported_config", "llama.expert_count is 8"],
    [
      { "tokenizer.ggml.model": "bert" },
      "unsupported_config",
      'tokenizer.ggml.model is "bert"; supported: gpt2, llama',
    ],
    [{ "tokenizer.ggml.pre": undefined }, "unsupported_config", "tokenizer.ggml.pre is missing; supported: gpt-2"],
    [
      { "tokenizer.ggml.tokens": undefined, "llama.vocab_size": 40 },
      "file_invalid",
      "tokenizer.ggml.tokens is undefined",
    ],
    [
      { "tokenizer.ggml.token_type": [1, 2] },
      "file_invalid",
      "2 tokenizer.ggml.token_type for 40 tokenizer.ggml.tokens",
    ],
    [{ "tokenizer.ggml.merges": ["AB"] }, "file_invalid", 'tokenizer.ggml.merges has "AB" at 0'],
    [{ "tokenizer.ggml.bos_token_id": 40 }, "unsupported_config", "bos_token_id is 40; there are 40 tokens"],
  ])("refuses %j by its name", async (changes, code, message) => {
    await expect(configOf(changes)).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
    await expect(configOf(changes)).rejects.toMatchObject({ message: expect.stringContaining(path) });
  });
});
