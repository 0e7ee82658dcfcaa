import { copyFileSync, existsSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ModelError, type ModelErrorCode } from "../../../models/errors.ts";
import { loadModel } from "../../../models/load.ts";
import { openSafetensors } from "../../../models/safetensors/reader.ts";
import type { LoadModelOptions } from "../../../models/types.ts";
import { variantNamed, writeCheckpoint } from "../../support/checkpoints.ts";
import { safetensorsBytes, type TensorToWrite } from "../../support/safetensors-file.ts";
import { removeTemporaryFolders, temporaryFolder } from "../exports.ts";

removeTemporaryFolders();

const folderOf = (name: string, changes?: object) => writeCheckpoint(temporaryFolder(), variantNamed(name), changes);

/** A folder whose one weights file is edited. */
function edited(name: string, edit: (tensors: TensorToWrite[]) => TensorToWrite[]): string {
  const folder = folderOf(name);
  const path = join(folder, "model.safetensors");
  const file = openSafetensors(path);
  const tensors = [...file.tensors.values()].map((tensor) => ({ ...tensor, bytes: file.read(tensor) }));
  file.close();
  writeFileSync(path, safetensorsBytes(edit(tensors)));
  return folder;
}

async function refusal(folder: string, options: LoadModelOptions = {}): Promise<ModelError> {
  const error = await loadModel(folder, options).then(
    () => new Error("the model loaded"),
    (reason: unknown) => reason,
  );
  if (!(error instanceof ModelError)) throw error;
  return error;
}

async function expectRefusal(folder: string, code: ModelErrorCode, ...texts: readonly string[]): Promise<void> {
  const { code: found, message } = await refusal(folder);
  for (const text of texts) expect(message).toContain(text);
  expect(found).toBe(code);
  // Nothing half-made stays.
  const prepared = join(folder, ".sparq");
  expect(existsSync(prepared) ? readdirSync(prepared) : []).toEqual([]);
}

const embedding = "model.embed_tokens.weight";

describe("a checkpoint that cannot be used", () => {
  it("is cut short", async () => {
    const folder = folderOf("llama");
    const path = join(folder, "model.safetensors");
    truncateSync(path, 20_000);
    await expectRefusal(folder, "file_truncated", `${path} is truncated: it has 20000 bytes, tensor "`);
  });

  it("lacks a tensor", async () => {
    const folder = edited("llama", (all) => all.filter(({ name }) => name !== "model.layers.1.mlp.up_proj.weight"));
    await expectRefusal(folder, "file_invalid", `${folder}: tensor "model.layers.1.mlp.up_proj.weight" is missing`);
  });

  it("has a tensor of a type that is not served", async () => {
    const folder = edited("llama", (all) =>
      all.map((tensor) => {
        if (tensor.name !== embedding) return tensor;
        return { ...tensor, dtype: "F8_E4M3", bytes: tensor.bytes.subarray(0, tensor.bytes.length / 2) };
      }),
    );
    await expectRefusal(
      folder,
      "unsupported_graph",
      `tensor "${embedding}" has dtype F8_E4M3; supported: F32, F16, BF16`,
    );
  });

  it("has a tensor of another shape than config.json says", async () => {
    await expectRefusal(
      folderOf("llama", { intermediate_size: 64 }),
      "file_invalid",
      'model.safetensors: tensor "model.layers.0.mlp.gate_proj.weight" has shape [56, 48], by config.json it must be [64, 48]',
    );
    await expectRefusal(
      folderOf("llama", { vocab_size: 63 }),
      "file_invalid",
      `"${embedding}" has shape [64, 48]`,
      "[63, 48]",
    );
  });

  it("has more layers or biases than config.json says, or fewer", async () => {
    await expectRefusal(
      folderOf("llama", { num_hidden_layers: 1 }),
      "unsupported_graph",
      "9 tensors have no place in a llama of 1 layers as config.json describes it: model.layers.1.",
    );
    await expectRefusal(folderOf("llama", { num_hidden_layers: 3 }), "file_invalid", 'tensor "model.layers.2.');
    await expectRefusal(
      folderOf("llama-odd", { mlp_bias: false }),
      "unsupported_graph",
      "6 tensors have no place",
      ".bias",
    );
    await expectRefusal(
      folderOf("llama", { attention_bias: true }),
      "file_invalid",
      '"model.layers.0.self_attn.q_proj.bias" is missing',
    );
    await expectRefusal(
      folderOf("qwen3", { model_type: "llama" }),
      "unsupported_graph",
      "4 tensors have no place",
      "q_norm",
    );
  });

  it("has no output matrix and is not tied", async () => {
    await expectRefusal(
      folderOf("qwen2", { tie_word_embeddings: false }),
      "file_invalid",
      'tensor "lm_head.weight" is missing',
    );
  });

  it.each([
    [
      "model_type",
      { model_type: "mixtral" },
      "unsupported_architecture",
      'model_type is "mixtral"; supported: llama, mistral',
    ],
    ["experts", { num_local_experts: 8 }, "unsupported_config", "num_local_experts is 8; mixtures of experts"],
    ["a soft cap", { attn_logit_softcapping: 50 }, "unsupported_config", "attn_logit_softcapping is 50; soft caps"],
    ["an activation", { hidden_act: "relu" }, "unsupported_config", 'hidden_act is "relu"; supported: silu, swish'],
    [
      "a rope",
      { rope_scaling: { rope_type: "mrope" } },
      "unsupported_config",
      'rope_type is "mrope"; supported: default,',
    ],
    [
      "too few of longrope's factors",
      { rope_scaling: { type: "longrope", short_factor: [1], long_factor: [1] } },
      "unsupported_config",
      "short_factor is [1]; it must be a list of 6 numbers > 0",
    ],
    [
      "quantised weights",
      { quantization_config: { quant_method: "awq" } },
      "unsupported_config",
      'quant_method "awq"), which is not supported',
    ],
  ] as const)("has in config.json %s that is not served", async (_, changes, code, message) => {
    await expectRefusal(folderOf("llama", changes), code, "config.json", message);
  });

  it("has no tokenizer, or no config.json", async () => {
    const folder = folderOf("llama");
    rmSync(join(folder, "tokenizer.json"));
    await expectRefusal(folder, "file_missing", `${folder} has no tokenizer.json`);
    rmSync(join(folder, "config.json"));
    await expectRefusal(folder, "file_missing", join(folder, "config.json"));
  });

  it("is pickled", async () => {
    const folder = folderOf("llama");
    rmSync(join(folder, "model.safetensors"));
    writeFileSync(join(folder, "pytorch_model.bin"), "");
    const { code, message } = await refusal(folder);
    expect(message).toContain("pytorch_model.bin must be converted");
    expect(code).toBe("file_missing");
  });
});

describe("a checkpoint in several files that cannot be used", () => {
  const [first, second] = ["llama-odd-00001-of-00002.safetensors", "llama-odd-00002-of-00002.safetensors"] as const;
  const index = "model.safetensors.index.json";

  function reindexed(edit: (map: Record<string, string>) => void): string {
    const folder = folderOf("llama-odd");
    const { weight_map: map } = JSON.parse(readFileSync(join(folder, index), "utf8"));
    edit(map);
    writeFileSync(join(folder, index), JSON.stringify({ weight_map: map }));
    return folder;
  }

  it("lacks one of them", async () => {
    const folder = folderOf("llama-odd");
    rmSync(join(folder, second));
    await expectRefusal(
      folder,
      "file_missing",
      `${join(folder, second)} is missing; ${join(folder, index)} has 17 of 34 tensors in it`,
    );
  });

  it("has a tensor elsewhere than its index says", async () => {
    const moved = reindexed((map) => {
      map[embedding] = map[embedding] === first ? second : first;
    });
    await expectRefusal(moved, "file_invalid", `has tensor "${embedding}" in`, "it is in ");
    const invented = reindexed((map) => {
      map["model.more"] = first;
    });
    await expectRefusal(invented, "file_invalid", 'has tensor "model.more" in', "it is in none of its files");
  });

  it.each(["../secret.safetensors", "/etc/passwd", "a\\b.safetensors", "weights.bin", ""])(
    "names %j in its index",
    async (name) => {
      const folder = reindexed((map) => {
        map[embedding] = name;
      });
      await expectRefusal(
        folder,
        "file_invalid",
        `"${embedding}" is in ${JSON.stringify(name)}, which is no .safetensors file beside it`,
      );
    },
  );

  it("has a tensor twice", async () => {
    const folder = folderOf("llama-odd");
    copyFileSync(join(folder, first), join(folder, second));
    await expectRefusal(
      folder,
      "file_invalid",
      `tensor "`,
      `is in ${join(folder, first)} and in ${join(folder, second)}`,
    );
  });

  it("has no index", async () => {
    const folder = folderOf("llama-odd");
    rmSync(join(folder, index));
    await expectRefusal(folder, "file_missing", `holds 2 .safetensors files (${first}, ${second}) and no ${index}`);
  });
});
