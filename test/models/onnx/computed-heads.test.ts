import { describe, expect, it } from "vitest";
import {
  floatTensor,
  type GraphProto,
  graphOf,
  int64Tensor,
  makeNode,
  type NodeProto,
  readModel,
} from "../../../models/onnx/proto.ts";
import { editedExport, importFolder, removeTemporaryFolders } from "../exports.ts";

removeTemporaryFolders();

const variant = "llama-dynamo-sdpa-18";

/** Layer 0's queries before rope, [batch, heads, tokens, head dim]: the first activations that are multiplied. */
function queriesBeforeRope(graph: GraphProto): string {
  const reader = graph.node.find(
    ({ opType, input }) =>
      opType === "Mul" && graph.node.some((node) => node.opType === "Transpose" && node.output[0] === input[0]),
  );
  return reader!.input[0]!;
}

/** Makes all readers of a tensor read what nodes make of it. */
function replace(graph: GraphProto, tensor: string, by: string, ...nodes: NodeProto[]): void {
  for (const node of graph.node) node.input = node.input.map((name) => (name === tensor ? by : name));
  const maker = graph.node.findIndex(({ output }) => output.includes(tensor));
  graph.node.splice(maker + 1, 0, ...nodes);
}

describe("what is computed between projections and rope", () => {
  it.each([
    ["a function of each component", (x: string) => [makeNode("Tanh", [x], ["computed"], {}, { name: "extra" })]],
    [
      "a norm of each head, with weights, on the heads before they are transposed",
      (x: string) => [
        makeNode("Transpose", [x], ["rows"], { perm: [0, 2, 1, 3] }),
        makeNode("ReduceL2", ["rows", "last"], ["norm"], { keepdims: 1 }),
        makeNode("Div", ["rows", "norm"], ["normed"]),
        makeNode("Mul", ["normed", "weights"], ["weighted"], {}, { name: "extra" }),
        makeNode("Transpose", ["weighted"], ["computed"], { perm: [0, 2, 1, 3] }),
      ],
    ],
  ])("stays in the graph: %s", async (_, nodes) => {
    const folder = editedExport(variant, (graph) => {
      const weights = Float32Array.from({ length: 8 }, (_, i) => 0.5 + i / 8);
      graph.initializer.push(floatTensor("weights", [8], weights), int64Tensor("last", [1], [-1]));
      const queries = queriesBeforeRope(graph);
      replace(graph, queries, "computed", ...nodes(queries));
    });
    const { report, graphPath } = await importFolder(folder);
    expect(report.selfCheck).toBeLessThan(1e-4);
    const { node } = graphOf(readModel(graphPath));
    expect(node.map(({ name }) => name)).toContain("extra");
    // Keys have nothing of the kind, and come from their projection as before.
    expect(node.filter(({ opType }) => opType === "Reshape" || opType === "Transpose").length).toBeLessThan(8);
  });

  it("is refused where a token has a part in another's", async () => {
    const folder = editedExport(variant, (graph) => {
      graph.initializer.push(int64Tensor("tokens_axis", [1], [2]));
      const queries = queriesBeforeRope(graph);
      const nodes = [
        makeNode("ReduceL2", [queries, "tokens_axis"], ["norm"], { keepdims: 1 }),
        makeNode("Div", [queries, "norm"], ["computed"]),
      ];
      replace(graph, queries, "computed", ...nodes);
    });
    await expect(importFolder(folder)).rejects.toThrow("the prepared graph is not the same model");
  });

  it("is refused by its node behind rope", async () => {
    const folder = editedExport(variant, (graph) => {
      // The sum of what cosines and sines were multiplied with.
      const muls = new Set(graph.node.filter(({ opType }) => opType === "Mul").flatMap(({ output }) => output));
      const sum = graph.node.find(({ opType, input }) => opType === "Add" && input.every((name) => muls.has(name)))!;
      replace(
        graph,
        sum.output[0]!,
        "computed",
        makeNode("Tanh", [sum.output[0]!], ["computed"], {}, { name: "late" }),
      );
    });
    await expect(importFolder(folder)).rejects.toThrow('layer 0, node "late" (Tanh) is between the projection and');
  });
});
