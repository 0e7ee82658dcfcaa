import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ModelError } from "../../../models/errors.ts";
import {
  DataType,
  decodeModel,
  encodeModel,
  floatTensor,
  graphOf,
  int64Tensor,
  makeModel,
  makeNode,
  makeValueInfo,
  readModel,
  toNumber,
} from "../../../models/onnx/proto.ts";
import { builtinFolder, exportsFolder, removeTemporaryFolders, temporaryFolder, variants } from "../exports.ts";

removeTemporaryFolders();

const files = [
  ...["tiny-llama", "tiny-pythia"].map((name) => join(builtinFolder, name, "model.onnx")),
  ...variants.map((name) => join(exportsFolder, name, "model.onnx")),
];

function smallModel() {
  return makeModel({
    name: "small",
    nodes: [makeNode("Add", ["x", "w"], ["y"], {}, { name: "sum" }), makeNode("Softmax", ["y"], ["z"], { axis: -1 })],
    initializers: [floatTensor("w", [2], Float32Array.of(1, 2)), int64Tensor("n", [1], [-1])],
    inputs: [makeValueInfo("x", DataType.FLOAT, [1, "tokens"])],
    outputs: [makeValueInfo("z", DataType.FLOAT, [1, "tokens"])],
    opsets: { "": 20 },
    metadata: { key: "value" },
  });
}

describe("ONNX files", () => {
  it.each(files)("decodes and encodes %s byte for byte", (path) => {
    const bytes = readFileSync(path);
    expect(Buffer.compare(encodeModel(decodeModel(bytes, path)), bytes)).toBe(0);
  });

  it("builds a model that reads back the same", () => {
    const model = decodeModel(encodeModel(smallModel()), "memory");
    const graph = graphOf(model);
    expect(graph.node.map(({ opType, name }) => [opType, name])).toEqual([
      ["Add", "sum"],
      ["Softmax", ""],
    ]);
    expect(toNumber(graph.node[1]!.attribute[0]!.i)).toBe(-1);
    expect(graph.input[0]!.type!.tensorType!.shape!.dim.map(({ value }) => value)).toEqual(["dimValue", "dimParam"]);
    expect(model.opsetImport.map(({ domain, version }) => [domain, toNumber(version)])).toEqual([["", 20]]);
    expect(model.metadataProps).toMatchObject([{ key: "key", value: "value" }]);
  });

  it("keeps fields that it does not know", () => {
    // Field 999, length-delimited, at the end of the model.
    const unknown = Buffer.from([0xba, 0x3e, 0x03, 0x01, 0x02, 0x03]);
    const bytes = Buffer.concat([encodeModel(smallModel()), unknown]);
    expect(Buffer.from(encodeModel(decodeModel(bytes, "memory")))).toEqual(bytes);
  });

  it("keeps int64 extremes", () => {
    const model = smallModel();
    graphOf(model).node[0]!.attribute = [
      { ...makeNode("X", [], [], { ends: [0] }).attribute[0]!, ints: [{ low: -1, high: 0x7fffffff, unsigned: false }] },
    ];
    const ends = graphOf(decodeModel(encodeModel(model), "memory")).node[0]!.attribute[0]!.ints;
    expect(ends).toMatchObject([{ low: -1, high: 0x7fffffff }]);
    expect(toNumber(ends[0]!)).toBe(2 ** 63);
  });

  it("names a file that is not there", () => {
    expect(() => readModel("/nowhere/model.onnx")).toThrow(/cannot read the model \/nowhere\/model\.onnx/);
  });

  it("refuses a model cut anywhere, or reads one whose graph is whole", () => {
    const bytes = encodeModel(smallModel());
    const path = join(temporaryFolder(), "cut.onnx");
    for (let length = 0; length < bytes.length; length++) {
      writeFileSync(path, bytes.subarray(0, length));
      try {
        expect(graphOf(readModel(path)).node).toHaveLength(2);
      } catch (error) {
        expect(error).toBeInstanceOf(ModelError);
        expect((error as ModelError).code).toBe("file_invalid");
        expect((error as ModelError).message).toContain(`${path} (${length} bytes)`);
      }
    }
  });

  it("refuses a truncated export, naming file and size", () => {
    const bytes = readFileSync(files[0]!);
    const path = join(temporaryFolder(), "model.onnx");
    writeFileSync(path, bytes.subarray(0, bytes.length / 2));
    expect(() => readModel(path)).toThrow(
      `${path} (${Math.floor(bytes.length / 2)} bytes) is truncated or not an ONNX model`,
    );
  });

  it("refuses foreign bytes with a ModelError, whatever they are", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        expect(() => decodeModel(bytes, "foreign.bin")).toThrow(ModelError);
      }),
    );
    expect(() => decodeModel(readFileSync(new URL(import.meta.url)), "this.ts")).toThrow(/this\.ts.*not an ONNX model/);
  });
});
