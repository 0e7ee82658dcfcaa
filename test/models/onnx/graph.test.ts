import { describe, expect, it } from "vitest";
import { attribute, describeNode, Graph, intAttribute } from "../../../models/onnx/graph.ts";
import {
  DataType,
  floatTensor,
  int64Tensor,
  makeModel,
  makeNode,
  makeValueInfo,
  rawTensor,
  tensorToNumbers,
} from "../../../models/onnx/proto.ts";

/** x [2, 3] times a float16 weight behind Identity, Cast and Transpose, reshaped by a constant; and a node nobody needs. */
function sample(): Graph {
  const weight = rawTensor("weight_f16", DataType.FLOAT16, [4, 3], new Uint8Array(24));
  return new Graph(
    makeModel({
      name: "sample",
      nodes: [
        makeNode("Identity", ["weight_f16"], ["weight_alias"]),
        makeNode("Cast", ["weight_alias"], ["weight"], { to: DataType.FLOAT }),
        makeNode("Transpose", ["weight"], ["weight_t"], { perm: [1, 0] }),
        makeNode("Constant", [], ["shape"], { value: { tensor: int64Tensor("", [2], [8, -1]) } }),
        makeNode("Constant", [], ["axes"], { value_ints: [0, 2] }),
        makeNode("RandomNormal", [], ["noise"], { shape: [2, 3] }),
        makeNode("Add", ["x", "noise"], ["noisy"], {}, { name: "add_noise" }),
        makeNode("MatMul", ["noisy", "weight_t"], ["product"]),
        makeNode("Reshape", ["product", "shape"], ["y"]),
        makeNode("Shape", ["weight_t"], ["unused"]),
      ],
      initializers: [weight, floatTensor("unused_weight", [1], Float32Array.of(1))],
      inputs: [makeValueInfo("x", DataType.FLOAT, [2, 3]), makeValueInfo("weight_f16", DataType.FLOAT16, [4, 3])],
      outputs: [makeValueInfo("y", DataType.FLOAT, [8, 1])],
      opsets: { "": 20 },
    }),
  );
}

describe("Graph", () => {
  it("knows producers, consumers and inputs", () => {
    const graph = sample();
    expect(graph.inputs).toEqual(["x"]);
    expect(graph.producer("product")!.opType).toBe("MatMul");
    expect(graph.producer("x")).toBeUndefined();
    expect(graph.consumers("weight_t").map(({ opType }) => opType)).toEqual(["MatMul", "Shape"]);
    expect(graph.consumers("y")).toEqual([]);
  });

  it("knows what is constant: what depends on no input and no chance", () => {
    const graph = sample();
    const names = ["weight_f16", "weight", "weight_t", "shape", "unused", "noise", "noisy", "x", "y"];
    expect(names.filter((name) => graph.isConstant(name))).toEqual([
      "weight_f16",
      "weight",
      "weight_t",
      "shape",
      "unused",
    ]);
  });

  it("looks through aliases to stored tensors, their shapes and integers", () => {
    const graph = sample();
    expect(graph.storedTensor("weight")!.name).toBe("weight_f16");
    expect(graph.storedTensor("weight_t")).toBeUndefined();
    expect(graph.constantShape("weight_t")).toEqual([3, 4]);
    expect(graph.constantShape("noise")).toBeUndefined();
    expect(graph.integers("shape")).toEqual([8, -1]);
    expect(graph.integers("axes")).toEqual([0, 2]);
    expect(graph.integers("unused")).toBeUndefined();
  });

  it("makes fresh names", () => {
    const graph = sample();
    expect([graph.freshName("y"), graph.freshName("y"), graph.freshName("z")]).toEqual(["y_1", "y_2", "z"]);
  });

  it("inserts nodes and redirects readers", () => {
    const graph = sample();
    const readers = graph.consumers("noisy");
    graph.insertBefore(readers[0]!, makeNode("Relu", ["noisy"], ["positive"]));
    graph.replaceUses("noisy", "positive", readers);
    expect(graph.producer("product")!.input).toEqual(["positive", "weight_t"]);
    expect(graph.consumers("noisy").map(({ opType }) => opType)).toEqual(["Relu"]);
    expect(graph.consumers("positive").map(({ opType }) => opType)).toEqual(["MatMul"]);
    const order = graph.nodes.map(({ opType }) => opType);
    expect(order.indexOf("Relu")).toBe(order.indexOf("MatMul") - 1);
  });

  it("removes what no output needs", () => {
    const graph = sample();
    graph.removeDead();
    expect(graph.nodes.map(({ opType }) => opType)).not.toContain("Shape");
    expect([...graph.initializers.keys()]).toEqual(["weight_f16"]);
    expect(graph.consumers("weight_t").map(({ opType }) => opType)).toEqual(["MatMul"]);
  });

  it("reads attributes and describes nodes", () => {
    const graph = sample();
    expect(intAttribute(graph.producer("weight")!, "to", 0)).toBe(DataType.FLOAT);
    expect(intAttribute(graph.producer("y")!, "allowzero", 7)).toBe(7);
    expect(tensorToNumbers(attribute(graph.producer("shape")!, "value")!.t!)).toEqual([8, -1]);
    expect(describeNode(graph.producer("noisy")!)).toBe('node "add_noise" (Add)');
    expect(describeNode(graph.producer("y")!)).toBe('the Reshape node that makes "y"');
    expect(describeNode(makeNode("Linear", [], ["z"], {}, { domain: "sparq" }))).toBe(
      'the sparq.Linear node that makes "z"',
    );
  });
});
