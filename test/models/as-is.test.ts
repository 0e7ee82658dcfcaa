import { cpSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../attention/root.ts";
import { locateAsIs, readAsIsConfig } from "../../models/as-is.ts";
import { ModelError } from "../../models/errors.ts";
import { loadModel } from "../../models/load.ts";
import { builtinFolder, editedExport, nthNode, removeTemporaryFolders, temporaryFolder } from "./exports.ts";

removeTemporaryFolders();

function refusal(act: () => unknown): ModelError {
  try {
    act();
  } catch (error) {
    if (error instanceof ModelError) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}

describe("the configuration of a model that runs as it is", () => {
  it("is that of a known architecture where it is one", () => {
    const { config, name, source } = locateAsIs("tiny-llama");
    expect({ name, source }).toEqual({ name: "tiny-llama", source: join(builtinFolder, "tiny-llama/model.onnx") });
    expect(config).toMatchObject({
      known: true,
      layers: 4,
      kvHeads: 2,
      headDim: 32,
      vocabSize: 2048,
      maxPositions: 4096,
    });
  });

  it("is read of any other, as its fields are spelled there", () => {
    const gpt2 = {
      model_type: "gpt2",
      n_ctx: 512,
      n_embd: 48,
      n_head: 4,
      n_layer: 2,
      vocab_size: 99,
      eos_token_id: 98,
    };
    expect(readAsIsConfig(gpt2, { eos_token_id: [97, 98] }, "config.json")).toEqual({
      modelType: "gpt2",
      layers: 2,
      kvHeads: 4,
      headDim: 12,
      vocabSize: 99,
      maxPositions: 512,
      eosTokenIds: [97, 98],
      known: false,
    });
    const gemma3 = {
      model_type: "gemma3",
      bos_token_id: 2,
      eos_token_id: 1,
      text_config: {
        max_position_embeddings: 4096,
        hidden_size: 64,
        num_attention_heads: 4,
        num_key_value_heads: 1,
        head_dim: 32,
      },
    };
    expect(readAsIsConfig(gemma3, undefined, "config.json")).toMatchObject({
      kvHeads: 1,
      headDim: 32,
      vocabSize: undefined,
      maxPositions: 4096,
      bosTokenId: 2,
      eosTokenIds: [1],
    });
  });

  it("takes the longest text from the tokenizer or from --max-context, or refuses", () => {
    const config = { model_type: "mamba" };
    const tokenizer = (model_max_length: number) => ({ tokenizer: { tokenizerConfig: { model_max_length } } });
    expect(readAsIsConfig(config, undefined, "c", tokenizer(2048)).maxPositions).toBe(2048);
    expect(readAsIsConfig(config, undefined, "c", { ...tokenizer(1e30), maxContext: 300 }).maxPositions).toBe(300);
    const error = refusal(() => readAsIsConfig(config, undefined, "c", tokenizer(1e30)));
    expect(error.message).toMatch(/^c does not say how long a sequence can be .*: set --max-context$/);
  });

  it("is refused by its field where that is nonsense", () => {
    const given = { model_type: "gpt2", n_positions: "many" };
    expect(refusal(() => readAsIsConfig(given, undefined, "c")).message).toBe(
      'c: n_positions is "many"; it must be an integer >= 1',
    );
  });

  it("is genai_config.json's where that describes the graph", () => {
    const { config, tokenizer } = locateAsIs(join(packageRoot(), "test/golden/genai/qwen3-fp32"));
    expect(config).toMatchObject({ known: true, modelType: "qwen3", layers: 2, maxPositions: 128, vocabSize: 56 });
    expect(tokenizer.chatTemplate).toContain("messages");
  });
});

describe("where the model is", () => {
  it("is onnx/ of a folder too", () => {
    const folder = join(temporaryFolder(), "hub");
    cpSync(join(builtinFolder, "tiny-pythia"), folder, { recursive: true });
    mkdirSync(join(folder, "onnx"));
    renameSync(join(folder, "model.onnx"), join(folder, "onnx/model_q4.onnx"));
    const { name, source, config } = locateAsIs(join(folder, "onnx/model_q4.onnx"));
    expect({ name, source }).toEqual({ name: "hub", source: join(folder, "onnx/model_q4.onnx") });
    expect(config.modelType).toBe("gpt_neox");
  });

  it("must be one that came as ONNX, with its config.json", () => {
    const folder = join(temporaryFolder(), "gguf");
    mkdirSync(folder);
    writeFileSync(join(folder, "a.gguf"), "GGUF");
    expect(refusal(() => locateAsIs(folder)).message).toBe(
      `${join(folder, "a.gguf")} is no ONNX model, so ONNX Runtime cannot serve it as it is`,
    );
    const bare = editedExport(join(builtinFolder, "tiny-llama"));
    rmSync(join(bare, "config.json"));
    expect(refusal(() => locateAsIs(bare))).toMatchObject({ code: "file_missing" });
  });
});

describe("refusals of ONNX models", () => {
  const hint = "; serve it dense with --attention=onnx";
  const load = (folder: string) => loadModel(folder, { cacheDir: temporaryFolder() });

  it("end with what can be done, where ONNX Runtime may run the model", async () => {
    const folder = editedExport(join(builtinFolder, "tiny-llama"), (graph) => {
      nthNode(graph, "Softmax", 0).opType = "LogSoftmax";
    });
    const error = await load(folder).catch((reason: unknown) => reason as ModelError);
    expect(error).toBeInstanceOf(ModelError);
    expect((error as ModelError).message.endsWith(hint)).toBe(true);
  });

  it("do not, where a file is missing or damaged", async () => {
    const folder = editedExport(join(builtinFolder, "tiny-llama"));
    writeFileSync(join(folder, "model.onnx"), "nothing of the kind");
    const error = await load(folder).catch((reason: unknown) => reason as ModelError);
    expect(error).toMatchObject({ code: "file_invalid" });
    expect((error as ModelError).message).not.toContain("--attention");
  });
});
