import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { makeAttribute } from "../../../models/onnx/build.ts";
import { Flow } from "../../../models/onnx/flow.ts";
import { Graph, intAttribute } from "../../../models/onnx/graph.ts";
import { findAttentions } from "../../../models/onnx/match.ts";
import {
  DataType,
  floatTensor,
  graphOf,
  int64Tensor,
  makeNode,
  type NodeProto,
  readModel,
  type TensorProto,
  tensorShape,
  tensorToFloat32,
} from "../../../models/onnx/proto.ts";
import {
  builtinFolder,
  importFolder,
  readConfig,
  reconfiguredExport,
  removeTemporaryFolders,
  ropeCache,
  writeWithContrib,
} from "../exports.ts";

removeTemporaryFolders();

/** Matrices with the same rows as one. */
function sideBySide(name: string, matrices: readonly TensorProto[]): TensorProto {
  const rows = tensorShape(matrices[0]!)[0]!;
  const parts = matrices.map((matrix) => ({ values: tensorToFloat32(matrix), columns: tensorShape(matrix)[1]! }));
  const row = (r: number) =>
    parts.flatMap(({ values, columns }) => [...values.subarray(r * columns, (r + 1) * columns)]);
  const all = Array.from({ length: rows }, (_, r) => row(r)).flat();
  return floatTensor(name, [rows, all.length / rows], Float32Array.from(all));
}

interface Fusion {
  /** One projection with queries, keys and values side by side. */
  readonly packed: boolean;
  readonly attributes?: Readonly<Record<string, number | { float: number }>>;
}

/**
 * tiny-llama with ONNX Runtime's GroupQueryAttention in place of every attention, as that runtime's tools make them; the
 * small exports will not do, for the operator wants heads of a multiple of 16.
 */
function groupQueryExport({ packed, attributes = {} }: Fusion): string {
  const folder = reconfiguredExport(join(builtinFolder, "tiny-llama"), { max_position_embeddings: 256 });
  const path = join(folder, "model.onnx");
  const config = readConfig(folder);
  const model = readModel(path);
  const graph = new Graph(model);
  const found = findAttentions(new Flow(graph));
  const sizes = { num_heads: config.heads, kv_num_heads: config.kvHeads, do_rotary: 1, rotary_interleaved: 0 };
  for (const tensor of [
    ropeCache("cos_cache", config, Math.cos),
    ropeCache("sin_cache", config, Math.sin),
    int64Tensor("tokens_axis", [1], [1]),
    int64Tensor("one", [], [1]),
    int64Tensor("last", [], [1]),
  ]) {
    graph.addInitializer(tensor);
  }
  graph.insertBefore(
    graph.nodes[0]!,
    makeNode("ReduceSum", ["attention_mask", "tokens_axis"], ["visible"], { keepdims: 0 }),
    makeNode("Sub", ["visible", "one"], ["last_visible"]),
    makeNode("Cast", ["last_visible"], ["seqlens_k"], { to: DataType.INT32 }),
    makeNode("Shape", ["attention_mask"], ["mask_shape"]),
    makeNode("Gather", ["mask_shape", "last"], ["total"], { axis: 0 }),
    makeNode("Cast", ["total"], ["total_sequence_length"], { to: DataType.INT32 }),
  );
  for (const { layer, query, key, value, pastKey, pastValue, context, outputProjection } of found) {
    let operands = [query.tensor, key.tensor, value.tensor];
    const nodes: NodeProto[] = [];
    if (packed) {
      // A fused projection is one with the three weights side by side.
      const weights = operands.map((tensor) => graph.producer(tensor)!.input[1]!);
      const columns = weights.map((name) => graph.storedTensor(name)!);
      graph.addInitializer(sideBySide(`qkv_weight.${layer}`, columns));
      nodes.push(
        makeNode("MatMul", [graph.producer(query.tensor)!.input[0]!, `qkv_weight.${layer}`], [`qkv.${layer}`]),
      );
      operands = [`qkv.${layer}`, "", ""];
    }
    const rest = [pastKey!, pastValue!, "seqlens_k", "total_sequence_length", "cos_cache", "sin_cache"];
    const outputs = ["context", "present_key", "present_value"].map((name) => `gqa.${name}.${layer}`);
    const attention = makeNode(
      "GroupQueryAttention",
      [...operands, ...rest],
      outputs,
      {},
      {
        domain: "com.microsoft",
        name: `gqa.${layer}`,
      },
    );
    attention.attribute = Object.entries({ ...sizes, ...attributes }).map(([name, v]) => makeAttribute(name, v));
    graph.insertBefore(outputProjection, ...nodes, attention);
    graph.replaceUses(context, outputs[0]!);
  }
  writeWithContrib(path, graph);
  return folder;
}

describe("GroupQueryAttention", () => {
  it("is an attention with rope inside", async () => {
    const { report } = await importFolder(groupQueryExport({ packed: false }));
    expect(report.attentions.map(({ node }) => node)).toEqual(
      [0, 1, 2, 3].map((i) => `node "gqa.${i}" (com.microsoft.GroupQueryAttention)`),
    );
    expect(report.removedInputs).toContain("past_key_values.1.value");
    expect(report.selfCheck).toBeLessThan(1e-4);
  });

  it("may take queries, keys and values packed", async () => {
    const { report } = await importFolder(groupQueryExport({ packed: true }));
    expect(report.attentions[0]!.pattern).toContain("queries then keys then values");
    expect(report.selfCheck).toBeLessThan(1e-4);
  });

  it.each([2, 57, 200])("may see a window of %i positions", async (window) => {
    const { report, graphPath } = await importFolder(
      groupQueryExport({ packed: false, attributes: { local_window_size: window } }),
    );
    for (const { pattern } of report.attentions) expect(pattern).toContain(`window of ${window};`);
    expect(report.selfCheck).toBeLessThan(1e-4);
    const [attention] = graphOf(readModel(graphPath)).node.filter(({ opType }) => opType === "PagedAttention");
    expect(intAttribute(attention!, "window", 0)).toBe(window);
  });

  it("sees everything with a window as long as the model", async () => {
    const { report } = await importFolder(groupQueryExport({ packed: false, attributes: { local_window_size: 256 } }));
    expect(report.attentions[0]!.pattern).not.toContain("window");
  });

  it.each([true, false])("may turn neighbours, packed: %s", async (packed) => {
    const { report } = await importFolder(groupQueryExport({ packed, attributes: { rotary_interleaved: 1 } }));
    expect(report.attentions[3]!.pattern).toContain("rope on neighbours");
    expect(report.selfCheck).toBeLessThan(1e-4);
  });

  it.each([
    ["no rope", { do_rotary: 0 }],
    ["another scale", { scale: { float: 0.5 } }],
    ["a softcap", { softcap: { float: 30 } }],
    ["a softmax with one more term", { smooth_softmax: 1 }],
  ])("is refused with %s", async (_, attributes) => {
    await expect(importFolder(groupQueryExport({ packed: false, attributes }))).rejects.toThrow(
      /attention cannot be proven: layer 0, node "gqa\.0" \(com\.microsoft\.GroupQueryAttention\)/,
    );
  });
});
