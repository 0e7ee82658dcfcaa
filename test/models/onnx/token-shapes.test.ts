import { describe, expect, it } from "vitest";
import { Graph } from "../../../models/onnx/graph.ts";
import {
  DataType,
  int64Tensor,
  makeModel,
  makeNode,
  makeValueInfo,
  type NodeProto,
} from "../../../models/onnx/proto.ts";
import { readShapesFromIds } from "../../../models/onnx/token-shapes.ts";

/** What a Shape node's input is after the pass. */
function inputAfter(shape: NodeProto, ...readers: NodeProto[]): string {
  const graph = new Graph(
    makeModel({
      name: "shapes",
      nodes: [shape, ...readers],
      initializers: [int64Tensor("first", [], [0]), int64Tensor("second", [1], [1])],
      inputs: [
        makeValueInfo("input_ids", DataType.INT64, ["batch", "tokens"]),
        makeValueInfo("attention_mask", DataType.INT64, ["batch", "total"]),
        makeValueInfo("position_ids", DataType.INT64, ["batch", "tokens"]),
        makeValueInfo("cache_position", DataType.INT64, ["tokens"]),
        makeValueInfo("past_key_values.0.key", DataType.FLOAT, ["batch", 2, "past", 8]),
      ],
      outputs: [makeValueInfo("size", DataType.INT64, [])],
      opsets: { "": 17 },
    }),
  );
  readShapesFromIds(graph);
  return shape.input[0]!;
}

const past = "past_key_values.0.key";
const pick = (index: string) => makeNode("Gather", ["shape", index], ["size"], { axis: 0 });

describe("numbers of sequences and tokens", () => {
  it.each([
    ["batch of a cache", makeNode("Shape", [past], ["size"], { start: 0, end: 1 })],
    ["batch of the mask", makeNode("Shape", ["attention_mask"], ["size"], { end: 1 })],
    ["tokens of the positions", makeNode("Shape", ["position_ids"], ["size"], { start: 1, end: 2 })],
    ["all of the positions", makeNode("Shape", ["position_ids"], ["size"])],
  ])("are read from input_ids: %s", (_, shape) => {
    expect(inputAfter(shape)).toBe("input_ids");
  });

  it("are read from input_ids where the first of all sizes is picked", () => {
    expect(inputAfter(makeNode("Shape", [past], ["shape"]), pick("first"))).toBe("input_ids");
    expect(inputAfter(makeNode("Shape", [past], ["shape"]), pick("second"))).toBe(past);
  });

  it.each([
    ["past of a cache", makeNode("Shape", [past], ["size"], { start: 2, end: 3 })],
    ["batch and heads", makeNode("Shape", [past], ["size"], { start: 0, end: 2 })],
    ["total of the mask", makeNode("Shape", ["attention_mask"], ["size"], { start: 1 })],
  ])("are left where input_ids has no such size: %s", (_, shape) => {
    const [input] = shape.input;
    expect(inputAfter(shape)).toBe(input);
  });

  it("are left in a list of positions, whose first axis is the tokens'", () => {
    expect(inputAfter(makeNode("Shape", ["cache_position"], ["size"], { start: 0, end: 1 }))).toBe("cache_position");
  });
});
