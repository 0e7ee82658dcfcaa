import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Flow } from "../../../models/onnx/flow.ts";
import { Graph } from "../../../models/onnx/graph.ts";
import { findAttentions } from "../../../models/onnx/match.ts";
import {
  DataType,
  floatTensor,
  int64Tensor,
  makeNode,
  type NodeProto,
  readModel,
  tensorToFloat32,
} from "../../../models/onnx/proto.ts";
import { preparedLogits } from "../../../models/onnx/self-check.ts";
import {
  editedExport,
  exportsFolder,
  importFolder,
  readConfig,
  readGolden,
  removeTemporaryFolders,
  ropeCache,
  writeWithContrib,
} from "../exports.ts";

removeTemporaryFolders();

/** Three heads with a KV head each, position_ids, no biases. */
const variantOf = (kind: Kind) => (kind === "opset 23's rope" ? "llama-dynamo-eager-23" : "llama-script-sdpa-14");

type Kind = "separate" | "bias" | "bias of a packed one" | "packed" | "padding mask" | "not causal" | "opset 23's rope";

/** The export with ONNX Runtime's RotaryEmbedding and MultiHeadAttention in place of every attention. */
function multiHeadExport(kind: Kind): string {
  const folder = editedExport(variantOf(kind));
  const path = join(folder, "model.onnx");
  const config = readConfig(folder);
  const model = readModel(path);
  const graph = new Graph(model);
  const found = findAttentions(new Flow(graph));
  const { heads, headDim: d } = config;
  graph.addInitializer(ropeCache("cos_cache", config, Math.cos));
  graph.addInitializer(ropeCache("sin_cache", config, Math.sin));
  graph.addInitializer(int64Tensor("split_heads", [5], [0, 0, heads, 1, d]));
  graph.insertBefore(graph.nodes[0]!, makeNode("Cast", ["attention_mask"], ["padding"], { to: DataType.INT32 }));
  for (const { layer, query, key, value, pastKey, pastValue, context, outputProjection } of found) {
    const nodes: NodeProto[] = [];
    const turned = (tensor: string) => {
      const output = `turned.${tensor}`;
      const options = { domain: kind === "opset 23's rope" ? "" : "com.microsoft", name: `rope.${tensor}` };
      const caches = ["cos_cache", "sin_cache"];
      nodes.push(
        options.domain === ""
          ? makeNode("RotaryEmbedding", [tensor, ...caches, "position_ids"], [output], { num_heads: heads }, options)
          : makeNode("RotaryEmbedding", [tensor, "position_ids", ...caches], [output], {}, options),
      );
      return output;
    };
    let operands = [turned(query.tensor), turned(key.tensor), value.tensor];
    let bias = "";
    if (kind === "bias") {
      // The values' alone: queries and keys are turned by now, and a projection has no bias behind rope.
      bias = `bias.${layer}`;
      const values = Float32Array.from({ length: 3 * heads * d }, (_, i) => (i < 2 * heads * d ? 0 : Math.sin(i)));
      graph.addInitializer(floatTensor(bias, [values.length], values));
    }
    if (kind === "packed" || kind === "bias of a packed one") {
      const parts = operands.map((tensor) => {
        const part = `${tensor}.part.${layer}`;
        nodes.push(makeNode("Reshape", [tensor, "split_heads"], [part]));
        return part;
      });
      nodes.push(makeNode("Concat", parts, [`packed.${layer}`], { axis: 3 }));
      operands = [`packed.${layer}`, "", ""];
      if (kind === "bias of a packed one") {
        bias = `bias.${layer}`;
        graph.addInitializer(floatTensor(bias, [3 * heads * d], new Float32Array(3 * heads * d)));
      }
    }
    const mask = kind === "padding mask" ? "padding" : "";
    const outputs = ["context", "present_key", "present_value"].map((name) => `mha.${name}.${layer}`);
    nodes.push(
      makeNode(
        "MultiHeadAttention",
        [...operands, bias, mask, "", pastKey!, pastValue!],
        outputs,
        { num_heads: heads, unidirectional: kind === "not causal" ? 0 : 1 },
        { domain: "com.microsoft", name: `mha.${layer}` },
      ),
    );
    graph.insertBefore(outputProjection, ...nodes);
    graph.replaceUses(context, outputs[0]!);
  }
  writeWithContrib(path, graph);
  return folder;
}

describe("MultiHeadAttention", () => {
  it.each<Kind>(["separate", "padding mask", "opset 23's rope"])("is an attention: %s", async (kind) => {
    const folder = multiHeadExport(kind);
    const { report, graphPath, config } = await importFolder(folder);
    expect(report.attentions.map(({ node }) => node)).toEqual(
      [0, 1].map((i) => `node "mha.${i}" (com.microsoft.MultiHeadAttention)`),
    );
    const { prompt, logits } = readGolden(join(exportsFolder, variantOf(kind)));
    const actual = await preparedLogits(graphPath, prompt, config);
    const worst = actual.reduce((largest, value, i) => Math.max(largest, Math.abs(value - logits[i]!)), 0);
    expect(worst).toBeLessThan(1e-4);
  });

  it("may add a bias of its own to the values", async () => {
    const { report, graphPath } = await importFolder(multiHeadExport("bias"));
    expect(report.selfCheck).toBeLessThan(1e-4);
    const graph = new Graph(readModel(graphPath));
    const attention = graph.nodes.find(({ opType }) => opType === "PagedAttention")!;
    const sum = graph.producer(attention.input[2]!)!;
    expect(sum.opType).toBe("Add");
    expect(tensorToFloat32(graph.initializers.get(sum.input[1]!)!)[0]).toBe(Math.fround(Math.sin(48)));
  });

  it.each<[Kind, string]>([
    ["packed", "query comes from 3 projections"],
    ["bias of a packed one", "has a bias"],
    ["not causal", "7 tokens behind 0"],
  ])("is refused by its node: %s", async (kind, reason) => {
    await expect(importFolder(multiHeadExport(kind))).rejects.toThrow(
      new RegExp(`attention cannot be proven: .*node "mha\\.0" \\(com\\.microsoft\\.MultiHeadAttention\\).*${reason}`),
    );
  });
});
