import { cpSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../../attention/root.ts";
import { ModelError, type ModelErrorCode } from "../../../models/errors.ts";
import { loadModel } from "../../../models/load.ts";
import {
  AttributeMessage,
  AttributeType,
  type GraphProto,
  graphOf,
  readModel,
  writeModel,
} from "../../../models/onnx/proto.ts";
import { nthNode, removeTemporaryFolders, temporaryFolder } from "../exports.ts";

removeTemporaryFolders();

type Json = { [name: string]: Json };

/** Where in genai_config.json, "model.decoder.head_size", and what to put there; undefined: nothing. */
type Change = readonly [path: string, value: unknown];

/** A copy of a golden with genai_config.json and the graph changed. */
function edited(variant: string, { config, graph }: { config?: Change; graph?: (graph: GraphProto) => void }): string {
  const folder = join(temporaryFolder(), variant);
  cpSync(join(packageRoot(), "test/golden/genai", variant), folder, { recursive: true });
  const path = join(folder, "genai_config.json");
  const root = JSON.parse(readFileSync(path, "utf8")) as Json;
  if (config) {
    const names = config[0].split(".");
    const parent = names.slice(0, -1).reduce((object, name) => object[name]!, root);
    parent[names.at(-1)!] = config[1] as Json;
  }
  writeFileSync(path, JSON.stringify(root));
  if (graph) {
    const model = readModel(join(folder, "model.onnx"));
    graph(graphOf(model));
    writeModel(join(folder, "model.onnx"), model);
  }
  return folder;
}

async function expectRefusal(folder: string, code: ModelErrorCode, ...parts: string[]): Promise<void> {
  const error = await loadModel(folder).then(
    () => new Error("the model loaded"),
    (reason: unknown) => reason,
  );
  if (!(error instanceof ModelError)) throw error;
  for (const part of parts) expect(error.message).toContain(part);
  expect(error.code).toBe(code);
}

describe("genai_config.json that is damaged", () => {
  it.each<[string, Change, string[]]>([
    ["no model", ["model", undefined], ["model is missing"]],
    ["no decoder", ["model.decoder", undefined], ["model: decoder is missing"]],
    ["no layers", ["model.decoder.num_hidden_layers", undefined], ["model: decoder: num_hidden_layers is missing"]],
    ["heads of text", ["model.decoder.num_attention_heads", "4"], ['num_attention_heads is "4"']],
    ["a head of -16", ["model.decoder.head_size", -16], ["head_size is -16"]],
    ["a fraction of a context", ["model.context_length", 0.5], ["model: context_length is 0.5"]],
    ["3 KV heads of 4", ["model.decoder.num_key_value_heads", 3], ["num_key_value_heads is 3", "4"]],
    ["an end beyond the vocabulary", ["model.eos_token_id", [1, 56]], ["eos_token_id is [1,56]", "vocab_size = 56"]],
    ["a beginning that is no id", ["model.bos_token_id", -1], ["bos_token_id is -1"]],
    ["a file elsewhere", ["model.decoder.filename", "../model.onnx"], ['filename is "../model.onnx"']],
    ["no file name", ["model.decoder.filename", ""], ['filename is ""']],
    ["a window of nothing", ["model.decoder.sliding_window", { window_size: 0 }], ["window_size is 0"]],
    [
      "windows of layers that are not there",
      ["model.decoder.sliding_window", { window_size: 8, layers: [2] }],
      ["sliding_window: layers is [2]", "num_hidden_layers = 2"],
    ],
    ["pictures", ["model.vision", { filename: "vision.onnx" }], ["model: vision is", "only decoders of text"]],
    ["a pipeline", ["model.decoder.pipeline", [{}]], ["decoder: pipeline is", "several graphs"]],
    [
      "embeddings instead of ids",
      ["model.decoder.inputs", { inputs_embeds: "inputs_embeds" }],
      ["inputs: inputs_embeds", "token ids"],
    ],
    ["another name of the logits", ["model.decoder.outputs.logits", "scores"], ['outputs: logits is "scores"']],
  ])("is refused with %s", async (_, config, parts) => {
    await expectRefusal(edited("llama-fp32", { config }), "unsupported_config", "genai_config.json", ...parts);
  });

  it("is refused when it is no JSON, or names a graph that is not there", async () => {
    const folder = edited("llama-fp32", {});
    const path = join(folder, "genai_config.json");
    truncateSync(path, 100);
    await expectRefusal(folder, "file_invalid", path);
    const other = edited("llama-fp32", { config: ["model.decoder.filename", "phi3.onnx"] });
    await expectRefusal(other, "file_missing", 'filename is "phi3.onnx"', join(other, "phi3.onnx"));
    await expectRefusal(join(other, "model.onnx"), "unsupported_config", '"phi3.onnx"', '"model.onnx"');
  });
});

describe("genai_config.json that disagrees with the graph", () => {
  it.each<[string, Change, ModelErrorCode, string[]]>([
    [
      "heads",
      ["model.decoder.num_attention_heads", 8],
      "unsupported_config",
      ["num_attention_heads is 8", "(com.microsoft.GroupQueryAttention) has num_heads = 4"],
    ],
    [
      "KV heads",
      ["model.decoder.num_key_value_heads", 1],
      "unsupported_config",
      ["num_key_value_heads is 1", "kv_num_heads = 2"],
    ],
    ["head size", ["model.decoder.head_size", 8], "unsupported_config", ["head_size is 8", "turns 16"]],
    [
      "a larger head size",
      ["model.decoder.head_size", 32],
      "attention_unproven",
      ["128", "4 heads and 2 KV heads of 32"],
    ],
    ["hidden size", ["model.decoder.hidden_size", 64], "unsupported_config", ["hidden_size is 64", "32 wide"]],
    [
      "layers",
      ["model.decoder.num_hidden_layers", 3],
      "attention_unproven",
      ["2 attentions", "genai_config.json has num_hidden_layers = 3"],
    ],
    ["vocabulary", ["model.vocab_size", 57], "unsupported_config", ["vocab_size = 57", "56 logits"]],
    ["context", ["model.context_length", 4096], "unsupported_config", ["context_length is 4096", "128 positions"]],
  ])("about %s is refused with both numbers", async (_, config, code, parts) => {
    await expectRefusal(edited("llama-fp32", { config }), code, ...parts);
  });

  it("about windows is no matter: what the graph does is done", async () => {
    const config = ["model.decoder.sliding_window", { window_size: 8 }] as const;
    const { report } = await loadModel(edited("llama-fp32", { config }));
    expect(report.attentions[0]!.pattern).not.toContain("window");
  });
});

describe("files of such a folder", () => {
  it("are missed by name", async () => {
    const folder = edited("llama-fp32", {});
    truncateSync(join(folder, "model.onnx.data"), 5000);
    await expectRefusal(folder, "file_truncated", "model.onnx.data", "5000");
    rmSync(join(folder, "model.onnx.data"));
    await expectRefusal(folder, "file_missing", "model.onnx.data");
    renameSync(join(folder, "tokenizer.json"), join(folder, "other.json"));
    await expectRefusal(folder, "file_missing", "tokenizer.json");
  });
});

describe("graphs that cannot be taken", () => {
  it("names the operator without rope", async () => {
    const folder = edited("llama-fp32", {
      graph: (graph) => {
        for (const layer of [0, 1]) {
          const node = nthNode(graph, "GroupQueryAttention", layer);
          node.attribute = node.attribute.filter(({ name }) => name !== "do_rotary");
          node.input = node.input.slice(0, 7);
        }
      },
    });
    await expectRefusal(folder, "attention_unproven", "no tables of rope's cosines and sines");
  });

  it("names a second rope", async () => {
    const folder = edited("llama-fp32", {
      graph: (graph) => {
        const node = nthNode(graph, "GroupQueryAttention", 1);
        node.input = node.input.map((name) => (name === "cos_cache" ? "sin_cache" : name));
      },
    });
    await expectRefusal(folder, "attention_unproven", "/model/layers.1/attn/GroupQueryAttention", "another rope");
  });

  it("names sinks", async () => {
    const folder = edited("llama-fp32", {
      graph: (graph) => {
        const node = nthNode(graph, "GroupQueryAttention", 1);
        node.input[11] = "model.layers.0.input_layernorm.weight";
      },
    });
    await expectRefusal(folder, "attention_unproven", "/model/layers.1/attn/GroupQueryAttention", "head_sink");
  });

  it.each<[string, (graph: GraphProto) => void, string]>([
    [
      "that is no comparison",
      (graph) => (nthNode(graph, "Greater").opType = "Equal"),
      "no comparison with a constant length",
    ],
    ["of other numbers", (graph) => nthNode(graph, "Greater").input.reverse(), "no comparison with a constant length"],
    [
      "about something else than the length",
      (graph) => {
        // The batch's size instead of the tokens'.
        const gather = graph.node.find(({ output }) => output[0] === nthNode(graph, "Greater").input[0])!;
        const zero = nthNode(graph, "Constant");
        graph.node.unshift({ ...zero, output: ["zero"], attribute: [constant(0)] });
        gather.input = [gather.input[0]!, "zero"];
      },
      "its condition is false on 33 tokens",
    ],
  ])("names an If with a condition %s", async (_, graph, reason) => {
    const folder = edited("phi3-fp32-longrope", { graph });
    await expectRefusal(folder, "unsupported_graph", 'node "/model/rope_caches_subgraph/If" (If)', reason);
  });
});

function constant(value: number) {
  return AttributeMessage.create({ name: "value_int", type: AttributeType.INT, i: value });
}
