/**
 * Damaged and hostile .onnx files: whatever the bytes say, reading one and finding its attentions gives a graph or a
 * ModelError, in bounded memory and time. (What runs a graph in ONNX Runtime comes after that.)
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import protobuf from "protobufjs";
import { describe, expect, it } from "vitest";
import { ModelError } from "../../../models/errors.ts";
import { Flow } from "../../../models/onnx/flow.ts";
import { Graph } from "../../../models/onnx/graph.ts";
import { findHead } from "../../../models/onnx/logit-rows.ts";
import { findAttentions } from "../../../models/onnx/match.ts";
import {
  DataType,
  encodeModel,
  floatTensor,
  graphOf,
  type Int64,
  makeModel,
  makeNode,
  makeValueInfo,
  readModel,
  type TensorProto,
  writeModel,
} from "../../../models/onnx/proto.ts";
import { exportsFolder, removeTemporaryFolders, temporaryFolder } from "../exports.ts";

removeTemporaryFolders();

/** More than the small graphs here take; less than a length of the file's could ask for. */
const MOST_GROWTH = 64e6;

/** What reading a file and looking for its attentions ends with, and by how many bytes memory grew meanwhile. */
function outcome(path: string): { readonly error: unknown; readonly grown: number } {
  const used = () => process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed;
  const before = used();
  let error: unknown;
  try {
    const flow = new Flow(new Graph(readModel(path)));
    findHead(flow);
    findAttentions(flow);
  } catch (reason) {
    error = reason;
  }
  return { error, grown: used() - before };
}

const damage = fc.record({
  at: fc.nat(1 << 20),
  kind: fc.constantFrom("flip", "longest", "zeros", "cut", "double", "end"),
  bits: fc.integer({ min: 1, max: 255 }),
  length: fc.integer({ min: 1, max: 64 }),
});
type Damage = typeof damage extends fc.Arbitrary<infer T> ? T : never;

function damaged(bytes: Buffer, { at, kind, bits, length }: Damage): Buffer {
  const out = Buffer.from(bytes);
  switch (kind) {
    case "flip":
      out[at] = out[at]! ^ bits;
      return out;
    case "longest":
      // The largest varint.
      return out.fill(0xff, at, at + 9);
    case "zeros":
      return out.fill(0, at, at + length);
    case "cut":
      return Buffer.concat([out.subarray(0, at), out.subarray(at + length)]);
    case "double":
      return Buffer.concat([out.subarray(0, at + length), out.subarray(at)]);
    default:
      return out.subarray(0, at);
  }
}

describe.each(["llama-script-sdpa-14", "neox-dynamo-sdpa-18"])("%s with damage", (variant) => {
  const whole = readFileSync(join(exportsFolder, variant, "model.onnx"));

  it("is read or refused with a ModelError", () => {
    const folder = temporaryFolder();
    const path = join(folder, "model.onnx");
    const codes = new Set<string>();
    fc.assert(
      fc.property(fc.array(damage, { minLength: 1, maxLength: 3 }), (damages) => {
        let bytes: Buffer = whole;
        for (const one of damages) {
          if (bytes.length > 80) bytes = damaged(bytes, { ...one, at: one.at % (bytes.length - 64) });
        }
        writeFileSync(path, bytes);
        const { error, grown } = outcome(path);
        expect(grown).toBeLessThan(MOST_GROWTH);
        if (error === undefined) return;
        if (!(error instanceof ModelError)) throw error;
        codes.add(error.code);
      }),
      { seed: 32, numRuns: 120 },
    );
    expect([...codes]).toContain("file_invalid");
  });

  it("is good without it", () => {
    expect(outcome(join(exportsFolder, variant, "model.onnx")).error).toBeUndefined();
  });
});

/** A model whose one weight is changed, or is in a file. */
function weightIs(change: (tensor: TensorProto) => void, external = false): string {
  const path = join(temporaryFolder(), "model.onnx");
  const model = makeModel({
    name: "weight",
    nodes: [makeNode("Identity", ["w"], ["y"])],
    initializers: [floatTensor("w", [8, 64], new Float32Array(512))],
    inputs: [],
    outputs: [makeValueInfo("y", DataType.FLOAT, [8, 64])],
    opsets: { "": 20 },
  });
  writeModel(path, model, external ? { externalData: { location: "weights.bin" } } : {});
  const written = readModel(path);
  const tensor = graphOf(written).initializer[0]!;
  change(tensor);
  writeFileSync(path, encodeModel(written));
  return path;
}

const entry = (tensor: TensorProto, key: string, value: string) => {
  for (const data of tensor.externalData) if (data.key === key) data.value = value;
};
const dims =
  (...sizes: Int64[]) =>
  (tensor: TensorProto) => {
    tensor.dims = sizes;
  };
const huge: Int64 = { low: 0, high: 0x40000000, unsigned: false };

describe("what a tensor claims", () => {
  it.each<[string, (tensor: TensorProto) => void, string]>([
    ["more elements", dims(8, 1 << 30), "shape [8,1073741824] and type FLOAT needs 34359738368 bytes and has 2048"],
    ["fewer elements", dims(8, 32), "needs 1024 bytes and has 2048"],
    ["negative sizes", dims(-8, -64), "shape [-8,-64] and type FLOAT has no such number of elements"],
    ["sizes past numbers", dims(huge), "has no such number of elements"],
    ["a product past numbers", dims(1 << 30, 1 << 30, 1 << 30), "has no such number of elements"],
    [
      "another type",
      (tensor) => {
        tensor.dataType = DataType.DOUBLE;
      },
      "type DOUBLE needs 4096 bytes and has 2048",
    ],
  ])("%s: is compared with what it has", (_, change, message) => {
    const { error, grown } = outcome(weightIs(change));
    expect(error).toBeInstanceOf(ModelError);
    expect((error as ModelError).message).toContain(message);
    expect((error as ModelError).message).toMatch(/model\.onnx: tensor "w"/);
    expect(grown).toBeLessThan(MOST_GROWTH);
  });

  it.each<[string, string, string]>([
    ["location", "../weights.bin", 'has its data at "../weights.bin", which is not inside the model\'s folder'],
    ["location", "a/../../weights.bin", "which is not inside the model's folder"],
    ["location", "/etc/passwd", "which is not inside the model's folder"],
    ["location", "", "which is not inside the model's folder"],
    ["location", "w\0.bin", "cannot be read"],
    ["location", "w".repeat(5000), "cannot be read"],
    ["location", ".", "is no file"],
    ["location", "model.onnx/inside", "cannot be read"],
    ["offset", "-1", 'has external data with offset "-1"'],
    ["offset", "9007199254740992", 'has external data with offset "9007199254740992"'],
    ["offset", "9007199254740000", "is truncated: it has 2048 bytes"],
    ["offset", "1", "is truncated: it has 2048 bytes"],
    ["length", "1e3", 'has external data with length "1e3"'],
    ["length", "99999999999", "needs 2048 bytes, its entry for"],
  ])("%s %#: names a place that exists", (key, value, message) => {
    const { error } = outcome(weightIs((tensor) => entry(tensor, key, value), true));
    expect(error).toBeInstanceOf(ModelError);
    expect((error as ModelError).message).toContain(message);
    expect((error as ModelError).message).toContain('tensor "w"');
  });
});

describe("what a message claims", () => {
  const read = (bytes: Uint8Array) => {
    const path = join(temporaryFolder(), "model.onnx");
    writeFileSync(path, bytes);
    return outcome(path);
  };

  it.each<[string, Uint8Array]>([
    // Field 7 (the graph), of 2^32 - 1 bytes.
    ["a length", Uint8Array.of(0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f)],
    ["a varint without an end", new Uint8Array(64).fill(0xff)],
    ["a group without an end", Uint8Array.of(0x3b, 0x3b, 0x3b)],
    ["nothing", new Uint8Array(0)],
    ["graphs in graphs, 20000 deep", nested(20_000)],
  ])("%s: is refused", (_, bytes) => {
    const { error, grown } = read(bytes);
    expect(error).toBeInstanceOf(ModelError);
    expect(error).toMatchObject({ code: "file_invalid", message: expect.stringContaining(`(${bytes.length} bytes)`) });
    expect(grown).toBeLessThan(MOST_GROWTH);
  });
});

/** A graph whose node has an attribute with a graph, whose node ... */
function nested(depth: number): Uint8Array {
  // Tags of GraphProto.node, NodeProto.attribute and AttributeProto.g; of ModelProto.graph outside.
  const tags = [...Array.from({ length: depth }, () => [0x0a, 0x2a, 0x32]).flat()];
  let length = 0;
  const headers: Uint8Array[] = [];
  for (const tag of tags.reverse()) {
    const header = new protobuf.Writer().uint32(tag).uint32(length).finish();
    headers.push(header);
    length += header.length;
  }
  return Buffer.concat([new protobuf.Writer().uint32(0x3a).uint32(length).finish(), ...headers.reverse()]);
}
