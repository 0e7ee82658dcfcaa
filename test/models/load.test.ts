import { cpSync, mkdirSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../attention/root.ts";
import { ModelError } from "../../models/errors.ts";
import { formatInspection, inspectModel } from "../../models/inspect.ts";
import { loadModel } from "../../models/load.ts";
import { listModels, locateModel, pulledModelsDir } from "../../models/registry.ts";
import { builtinFolder, exportsFolder, removeTemporaryFolders, temporaryFolder } from "./exports.ts";

removeTemporaryFolders();

const tokenizerFiles = ["tokenizer.json", "tokenizer_config.json"];

/** A model folder: a small export with tiny-llama's tokenizer. */
function modelFolder(name = "my-model", variant = "llama-dynamo-sdpa-18"): string {
  const folder = join(temporaryFolder(), name);
  cpSync(join(exportsFolder, variant), folder, { recursive: true });
  for (const file of tokenizerFiles) cpSync(join(builtinFolder, "tiny-llama", file), join(folder, file));
  return folder;
}

async function errorOf(nameOrPath: string, cacheDir = temporaryFolder()): Promise<ModelError> {
  const error = await loadModel(nameOrPath, { cacheDir }).then(
    () => new Error("the model loaded"),
    (reason: unknown) => reason,
  );
  if (!(error instanceof ModelError)) throw error;
  return error;
}

describe("loadModel", () => {
  it.each(["tiny-llama", "tiny-pythia"])("loads the built-in %s by its name", async (name) => {
    const cacheDir = temporaryFolder();
    const model = await loadModel(name, { cacheDir });
    expect(model).toMatchObject({ name, source: join(builtinFolder, name, "model.onnx") });
    expect(model.config.maxPositions).toBeGreaterThanOrEqual(4096);
    expect(model.tokenizer.tokenizerJson).toHaveProperty("model");
    expect(model.tokenizer.chatTemplate).toContain("messages");
    expect(model.report.selfCheck).toBeLessThan(1e-3);
    expect(await loadModel(name, { cacheDir })).toMatchObject({
      cached: true,
      graphPath: model.graphPath,
      report: model.report,
    });
  });

  it("loads a folder, a file, and the hub's onnx/ subfolder, under the folder's name", async () => {
    const folder = modelFolder();
    const first = await loadModel(folder);
    expect(first).toMatchObject({ name: "my-model", cached: false, source: join(folder, "model.onnx") });
    expect(await loadModel(join(folder, "model.onnx"))).toMatchObject({ name: "my-model", cached: true });
    mkdirSync(join(folder, "onnx"));
    renameSync(join(folder, "model.onnx"), join(folder, "onnx", "model.onnx"));
    expect(await loadModel(folder)).toMatchObject({ name: "my-model", cached: false });
    expect(await loadModel(join(folder, "onnx", "model.onnx"))).toMatchObject({ name: "my-model", cached: true });
  });

  it("tells its progress, ending at the total", async () => {
    const seen: [number, number, string][] = [];
    await loadModel(modelFolder(), { onProgress: (...step) => seen.push(step) });
    expect(seen.map(([done]) => done)).toEqual(seen.map(([done]) => done).sort((a, b) => a - b));
    expect(seen.at(-1)!.slice(0, 2)).toEqual([6, 6]);
  });

  it("takes end-of-sequence tokens from generation_config.json", async () => {
    const folder = modelFolder();
    writeFileSync(join(folder, "generation_config.json"), JSON.stringify({ eos_token_id: [5, 6] }));
    expect((await loadModel(folder)).config.eosTokenIds).toEqual([5, 6, 0]);
  });

  it("prefers chat_template.jinja and the template named default", async () => {
    const folder = modelFolder();
    const named = [
      { name: "rag", template: "R" },
      { name: "default", template: "D" },
    ];
    writeFileSync(join(folder, "tokenizer_config.json"), JSON.stringify({ chat_template: named }));
    expect((await loadModel(folder)).tokenizer.chatTemplate).toBe("D");
    writeFileSync(join(folder, "chat_template.jinja"), "J");
    expect((await loadModel(folder)).tokenizer.chatTemplate).toBe("J");
    rmSync(join(folder, "chat_template.jinja"));
    rmSync(join(folder, "tokenizer_config.json"));
    expect((await loadModel(folder)).tokenizer.chatTemplate).toBeUndefined();
  });

  it("loads a pulled model by name", async () => {
    const cacheDir = temporaryFolder();
    cpSync(modelFolder(), join(pulledModelsDir(cacheDir), "pulled-llama"), { recursive: true });
    expect(await loadModel("pulled-llama", { cacheDir })).toMatchObject({ name: "pulled-llama" });
  });
});

describe("what is no model", () => {
  it("says where it looked and which names it knows", async () => {
    const error = await errorOf("no-such-model");
    expect(error.code).toBe("model_not_found");
    expect(error.message).toContain('no model "no-such-model"');
    expect(error.message).toContain(join(process.cwd(), "no-such-model"));
    expect(error.message).toContain("tiny-llama, tiny-pythia");
  });

  it("says how to get a model that can be pulled", async () => {
    expect((await errorOf("smollm2-135m-instruct")).message).toContain("sparq pull smollm2-135m-instruct");
    expect((await errorOf("no-such-model")).message).not.toContain("sparq pull");
  });

  it("refuses the empty name", async () => {
    expect((await errorOf("")).code).toBe("model_not_found");
  });

  it("says what a folder lacks", async () => {
    const folder = temporaryFolder();
    const error = await errorOf(folder);
    expect(error.code).toBe("file_missing");
    expect(error.message).toContain(
      `${folder} holds no model: looked for genai_config.json, model.onnx, onnx/model.onnx, decoder_model_merged.onnx, ` +
        "onnx/decoder_model_merged.onnx, decoder_with_past_model.onnx, onnx/decoder_with_past_model.onnx, .safetensors files, an .onnx and a .gguf file",
    );
  });

  it("takes the only export in a folder whatever its name, and asks which of several is meant", async () => {
    const folder = modelFolder();
    mkdirSync(join(folder, "onnx"));
    const named = join(folder, "onnx", "model_q4f16.onnx");
    renameSync(join(folder, "model.onnx"), named);
    expect(await loadModel(folder)).toMatchObject({ name: "my-model", source: named });
    cpSync(named, join(folder, "onnx", "model_fp16.onnx"));
    writeFileSync(join(folder, "a.gguf"), "");
    const message = (await errorOf(folder)).message;
    expect(message).toContain("holds 3 models (onnx/model_fp16.onnx, onnx/model_q4f16.onnx, a.gguf): name one");
    expect(await loadModel(named)).toMatchObject({ cached: true });
  });

  it("asks which of several GGUF files is meant", async () => {
    const folder = temporaryFolder();
    for (const name of ["a.gguf", "b.gguf"]) writeFileSync(join(folder, name), "");
    expect((await errorOf(folder)).message).toContain("holds 2 GGUF files (a.gguf, b.gguf)");
  });

  it("refuses a file of another kind", async () => {
    const path = join(temporaryFolder(), "model.bin");
    writeFileSync(path, "");
    expect((await errorOf(path)).message).toContain(
      `${path} is neither a folder nor an .onnx, .gguf or .safetensors file`,
    );
  });

  it.each(["config.json", "tokenizer.json"])("says that %s is missing", async (name) => {
    const folder = modelFolder();
    rmSync(join(folder, name));
    const error = await errorOf(folder);
    expect(error.code).toBe("file_missing");
    expect(error.message).toContain(name);
    expect(error.message).toContain(folder);
  });

  it.each(["config.json", "tokenizer.json", "generation_config.json"])(
    "says that %s is no JSON, or no object",
    async (name) => {
      const folder = modelFolder();
      writeFileSync(join(folder, name), "{ truncated");
      expect(await errorOf(folder)).toMatchObject({
        code: "file_invalid",
        message: expect.stringContaining(`${join(folder, name)} is no valid JSON`),
      });
      writeFileSync(join(folder, name), "[]");
      expect(await errorOf(folder)).toMatchObject({
        code: "file_invalid",
        message: expect.stringContaining("must hold a JSON object"),
      });
    },
  );

  it("names a truncated graph and a truncated weights file", async () => {
    const folder = modelFolder();
    truncateSync(join(folder, "model.onnx"), 5000);
    expect(await errorOf(folder)).toMatchObject({
      code: "file_invalid",
      message: expect.stringContaining("(5000 bytes) is truncated"),
    });
    const external = modelFolder("external", "neox-script-sdpa-18-f16-external");
    truncateSync(join(external, "model.onnx_data"), 100);
    expect(await errorOf(external)).toMatchObject({
      code: "file_truncated",
      message: expect.stringContaining("it has 100 bytes"),
    });
    rmSync(join(external, "model.onnx_data"));
    expect(await errorOf(external)).toMatchObject({
      code: "file_missing",
      message: expect.stringContaining("model.onnx_data is missing"),
    });
  });

  it("notices external weights that were cut after the graph was prepared", async () => {
    const folder = modelFolder("external", "neox-script-sdpa-18-f16-external");
    await loadModel(folder);
    truncateSync(join(folder, "model.onnx_data"), 100);
    expect((await errorOf(folder)).code).toBe("file_truncated");
  });

  it("refuses another architecture by its name", async () => {
    const folder = modelFolder();
    writeFileSync(join(folder, "config.json"), JSON.stringify({ model_type: "bert" }));
    expect(await errorOf(folder)).toMatchObject({
      code: "unsupported_architecture",
      message: expect.stringContaining('"bert"'),
    });
  });
});

describe("the registry", () => {
  it("lists built-in models, then pulled ones", () => {
    const cacheDir = temporaryFolder();
    expect(listModels(cacheDir).map(({ name }) => name)).toEqual(["tiny-llama", "tiny-pythia"]);
    for (const name of ["b-model", "a-model", ".hidden"])
      mkdirSync(join(pulledModelsDir(cacheDir), name), { recursive: true });
    writeFileSync(join(pulledModelsDir(cacheDir), "a-file"), "");
    expect(listModels(cacheDir).map(({ name }) => name)).toEqual(["tiny-llama", "tiny-pythia", "a-model", "b-model"]);
  });

  it("prefers a built-in name to a path", () => {
    expect(locateModel("tiny-llama")).toEqual({
      name: "tiny-llama",
      path: join(packageRoot(), "models/builtin/tiny-llama"),
      origin: "builtin",
    });
  });

  it("takes a GGUF file's name without its ending", () => {
    const path = join(temporaryFolder(), "llama-q4.gguf");
    writeFileSync(path, "");
    expect(locateModel(path)).toEqual({ name: "llama-q4", path, origin: "path" });
  });
});

describe("inspectModel", () => {
  it("says nothing of an import where there was none", async () => {
    const inspection = await inspectModel("tiny-llama", { cacheDir: temporaryFolder() });
    const text = formatInspection({ ...inspection, format: "gguf" });
    expect(text).toContain("\nattentions\n");
    for (const part of ["replaced", "removed", "before,", "self-check"]) expect(text).not.toContain(part);
  });

  it("describes tiny-llama, as data and as text", async () => {
    const inspection = await inspectModel("tiny-llama", { cacheDir: temporaryFolder() });
    expect(inspection).toMatchObject({
      name: "tiny-llama",
      architecture: "llama",
      layers: 4,
      heads: 6,
      kvHeads: 2,
      headDim: 32,
      weights: { kind: "f16" },
      // 4 layers of 2 KV heads of 32: f16 keys and values, int8 keys to scan; for each page of 128 the latter's ranges, the
      // sum of the values, and a cache line for how many that are.
      cacheBytesPerToken: { stored: 4 * 2 * (32 * (2 * 2 + 1 + (2 * 4) / 128) + 64 / 128), dense: 4 * 2 * 32 * 2 * 2 },
      graph: { removedInputs: expect.arrayContaining(["attention_mask", "past_key_values.0.key"]) },
    });
    expect(inspection.graph.attentions).toHaveLength(4);
    expect(JSON.parse(JSON.stringify(inspection))).toEqual(inspection);
    const text = formatInspection(inspection);
    for (const part of [
      "tiny-llama",
      "6 heads of 32, 2 KV heads",
      "1.3 KiB a token",
      "keys and values alone 1.0 KiB",
      "past_key_values.*.key",
      inspection.graph.attentions[3]!.node,
      basename(inspection.files[0]!.path),
    ]) {
      expect(text).toContain(part);
    }
    expect(text).not.toContain("past_key_values.0.key");
  });
});
