/** What a session refuses: files, libraries, graphs and stores; step-errors.test.ts has its steps. Each message names the thing and the numbers. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { loadAddon, runtimeLibraryPath } from "../../attention/binding.ts";
import { packStep } from "../../attention/pack.ts";
import { openSession, type Session } from "../../attention/session.ts";
import type { AttendInput, SessionOptions } from "../../attention/types.ts";
import {
  type AttributeValue,
  DataType,
  floatTensor,
  type ModelProto,
  makeModel,
  makeNode,
  makeValueInfo,
} from "../../models/onnx/proto.ts";
import { dense, layerOf } from "../contract/attention-fixture.ts";
import { graphFolder } from "./graph-files.ts";
import { decoderModel, makeDecoder, tinyShape } from "./tiny-decoder.ts";

const graphs = graphFolder();
const decoder = makeDecoder();
const graphPath = graphs.write("tiny.onnx", decoderModel(decoder));
const blocks = 8;

function open(options: Partial<Parameters<typeof openSession>[0]> = {}): Promise<Session> {
  return openSession({ graphPath, config: tinyShape, blocks, blockSize: 64, threads: 1, ...options });
}

describe("loading", () => {
  const text = graphs.write("text.onnx", Buffer.from("This is no model.\n".repeat(40)));
  const empty = graphs.write("empty.onnx", new Uint8Array(0));
  const half = graphs.write("half.onnx", readFileSync(graphPath).subarray(0, 5000));

  it.each([
    ["missing", graphs.path("missing.onnx"), "No such file or directory"],
    ["a folder", graphs.path("."), "Is a directory"],
    ["empty", empty, "the file is empty"],
    ["text", text, "Protobuf parsing failed"],
    ["truncated", half, "Protobuf parsing failed"],
  ])("refuses a graph file that is %s, and names it", async (_, path, reason) => {
    const failure = await open({ graphPath: path }).catch(String);
    expect(failure).toContain(`graph ${path}: `);
    expect(failure).toContain(reason);
  });

  it("refuses a graph whose external weights are missing", async () => {
    const model = decoderModel(decoder);
    const { initializer } = model.graph!;
    const at = initializer.findIndex(({ name }) => name === "head");
    initializer[at] = Object.assign(floatTensor("head", [tinyShape.hidden, tinyShape.vocabSize], new Float32Array(0)), {
      dataLocation: 1,
      externalData: [{ key: "location", value: "gone.data" }],
    });
    const path = graphs.write("external.onnx", model);
    await expect(open({ graphPath: path })).rejects.toThrow(/external\.onnx: .*gone\.data/s);
  });

  it("refuses a model with other inputs, and lists them", async () => {
    const model = makeModel({
      name: "foreign",
      nodes: [makeNode("Relu", ["x"], ["y"])],
      initializers: [],
      inputs: [makeValueInfo("x", DataType.FLOAT, [1, "n"])],
      outputs: [makeValueInfo("y", DataType.FLOAT, [1, "n"])],
      opsets: { "": 13 },
    });
    const path = graphs.write("foreign.onnx", model);
    await expect(open({ graphPath: path })).rejects.toThrow(
      `graph ${path}: its inputs are x [1, ?]; must be input_ids, int64 [1, T], and logit_rows, int64 [R]`,
    );
  });

  it.each([
    ["a vocabulary", { vocabSize: 51 }, "it gives logits of 50 tokens, the vocabulary has 51"],
    ["layers", { layers: 3 }, "it has sparq.PagedAttention nodes for 2 layers, the KV store is made for 3"],
    ["layers", { layers: 1 }, "layer is 1, must be 0 to 0"],
    ["KV heads", { kvHeads: 4 }, "num_kv_heads is 2, must be 4 to 4"],
    ["head sizes", { headDim: 64 }, "head_dim is 32, must be 64 to 64"],
  ])("refuses a graph with other %s than the config: %j", async (_, change, message) => {
    await expect(open({ config: { ...tinyShape, ...change } })).rejects.toThrow(message);
  });

  it("refuses libraries that are missing or not ONNX Runtime", async () => {
    const libraryPath = "/nowhere/libonnxruntime.so.1";
    await expect(open({ libraryPath })).rejects.toThrow(`${libraryPath} cannot be used as ONNX Runtime: `);
    await expect(open({ libraryPath: graphPath })).rejects.toThrow(`${graphPath} cannot be used as ONNX Runtime: `);
    const foreign = process.report ? sharedLibraryOf("libc") : undefined;
    await expect(open({ libraryPath: foreign! })).rejects.toThrow(
      `${foreign} cannot be used as ONNX Runtime: it has no function OrtGetApiBase`,
    );
    // The right one still loads afterwards.
    (await open()).close();
  });

  it("refuses options of the wrong type or range", async () => {
    const addon = loadAddon();
    const { layers, kvHeads, headDim, vocabSize } = tinyShape;
    const store = addon.createKvStore({ layers, kvHeads, headDim, blockSize: 64, blocks });
    const good = { libraryPath: runtimeLibraryPath(), graphPath, store, vocabSize, threads: 1, spinning: false };
    const load = (change: object) => addon.loadSession({ ...good, ...change } as SessionOptions);
    await expect(load({ threads: 0 })).rejects.toThrow("threads is 0, must be an integer from 1 to 1024");
    await expect(load({ threads: 1.5 })).rejects.toThrow("threads is 1.5, must be an integer");
    await expect(load({ vocabSize: "50" })).rejects.toThrow("vocabSize must be a number");
    await expect(load({ graphPath: undefined })).rejects.toThrow("graphPath must be a string");
    await expect(load({ spinning: 1 })).rejects.toThrow("spinning must be true or false");
    await expect(load({ store: {} })).rejects.toThrow("store must be a KvStore made by createKvStore()");
    await expect(load({ store: Object.create(store) })).rejects.toThrow("store must be a KvStore");
    await expect(addon.loadSession(undefined as unknown as SessionOptions)).rejects.toThrow("must be an object");
    store.close();
    await expect(load({})).rejects.toThrow("the KV store is closed");
  });
});

/** The path of a library that this process has loaded, from Node's own report. */
function sharedLibraryOf(name: string): string {
  const report = process.report.getReport() as { sharedObjects?: string[] };
  return report.sharedObjects!.find((path) => path.includes(name))!;
}

describe("attributes of sparq.PagedAttention", () => {
  const change = (attributes: Readonly<Record<string, AttributeValue | undefined>>, name = "changed.onnx") =>
    graphs.write(
      name,
      decoderModel(decoder, (layer) => (layer === 1 ? attributes : {})),
    );

  it.each<[string, AttributeValue | undefined, string]>([
    ["layer", 7, "layer is 7, must be 0 to 1"],
    ["layer", -1, "layer is -1, must be 0 to 1"],
    ["layer", undefined, "needs the integer attribute layer"],
    ["num_heads", 3, "num_heads is 3, must be a multiple of num_kv_heads, 2"],
    ["num_heads", 0, "num_heads is 0, must be 2 to"],
    ["num_kv_heads", 1, "num_kv_heads is 1, must be 2 to 2"],
    ["head_dim", 16, "head_dim is 16, must be 32 to 32"],
    ["head_dim", "32", "needs the integer attribute head_dim"],
    ["rotary_dim", 15, "rotary_dim is 15, must be even"],
    ["rotary_dim", 34, "rotary_dim is 34, must be 0 to 32"],
    ["rotary_dim", 8, "inverse_frequencies has shape [8], must be [rotary_dim / 2] = [4]"],
    ["rope_interleaved", 2, "rope_interleaved is 2, must be 0 to 1"],
    ["window", -5, "window is -5, must be 0 to"],
    ["scale", { float: 0 }, "scale is 0.000000, must be above 0"],
    ["scale", { float: Number.NaN }, "scale is nan, must be above 0"],
    ["scale", 1, "needs the float attribute scale"],
    ["rope_scale", { float: Number.POSITIVE_INFINITY }, "rope_scale is inf, must be above 0"],
    ["q_offset", -1, "q_offset is -1, must be 0 to"],
    ["k_head_stride", undefined, "needs the integer attribute k_head_stride"],
    ["v_offset", 2 ** 31, "v_offset is 2147483648, must be 0 to 2147483647"],
  ])("refuses %s = %j and names node, layer and value", async (name, value, message) => {
    const failure = await open({ graphPath: change({ [name]: value }) }).catch(String);
    expect(failure).toContain(message);
    expect(failure).toContain('sparq.PagedAttention node "layer1.attention"');
    if (name !== "layer") expect(failure).toContain("(layer 1)");
  });

  it("refuses two nodes for one layer", async () => {
    await expect(open({ graphPath: change({ layer: 0 }) })).rejects.toThrow(
      /nodes "layer[01]\.attention" and "layer[01]\.attention" both have layer 0/,
    );
  });

  it("refuses inverse frequencies that are computed or absent", async () => {
    const attentionOf = (model: ModelProto) => model.graph!.node.find(({ opType }) => opType === "PagedAttention")!;
    const message = "input 3, inverse_frequencies, must be a constant initializer";
    const absent = decoderModel(decoder);
    attentionOf(absent).input.pop();
    await expect(open({ graphPath: graphs.write("absent.onnx", absent) })).rejects.toThrow(message);
    const computed = decoderModel(decoder);
    const nodes = computed.graph!.node;
    nodes.unshift(
      makeNode("Cast", ["logit_rows"], ["cast"], { to: DataType.FLOAT }),
      makeNode("Expand", ["cast", "eight"], ["computed"]),
    );
    const eight = Object.assign(floatTensor("eight", [1], new Float32Array(2)), { dataType: DataType.INT64 });
    computed.graph!.initializer.push(eight);
    attentionOf(computed).input[3] = "computed";
    await expect(open({ graphPath: graphs.write("computed.onnx", computed) })).rejects.toThrow(message);
  });

  it("rejects the step of a graph whose heads lie outside the projection, and can go on", async () => {
    const session = await open({ graphPath: change({ v_head_stride: 4000 }) });
    const sequence = { tokenIds: [1], contextLength: 0, blockTable: [0], attention: dense, denseUntil: 1 };
    const run = () => session.step([{ ...sequence, logits: "last" }]);
    const message = 'node "layer1.attention" (layer 1): v has rows of 256 values, its 2 heads reach to 4224';
    await expect(run()).rejects.toThrow(message);
    await expect(run()).rejects.toThrow(message);
    session.close();
  });

  it("rejects the step of a SwiGLU with an odd width", async () => {
    const model = decoderModel(decoder);
    // Only the last layer's: its input is cut to 79 columns, its output no longer fits the projection that follows.
    const swiGlu = model.graph!.node.findLast(({ opType }) => opType === "SwiGLU")!;
    const ints = (name: string, value: number) =>
      Object.assign(floatTensor(name, [1], new Float32Array(new BigInt64Array([BigInt(value)]).buffer)), {
        dataType: DataType.INT64,
      });
    model.graph!.initializer.push(ints("zero", 0), ints("end", 79), ints("axis", 2));
    const at = model.graph!.node.indexOf(swiGlu);
    model.graph!.node.splice(at, 0, makeNode("Slice", [swiGlu.input[0]!, "zero", "end", "axis"], ["cut"]));
    swiGlu.input[0] = "cut";
    const session = await open({ graphPath: graphs.write("odd.onnx", model) });
    const sequence = { tokenIds: [1, 2], contextLength: 0, blockTable: [0], attention: dense, denseUntil: 2 };
    await expect(session.step([{ ...sequence, logits: "last" }])).rejects.toThrow(
      "sparq.SwiGLU: input has shape [1, 2, 79], its last dimension must be even",
    );
    session.close();
  });
});

describe("stores and attend()", () => {
  const addon = loadAddon();
  const shape = { layers: 2, kvHeads: 2, headDim: 32, blockSize: 64, blocks: 4 };

  it("refuses shapes that are no counts or do not fit into memory", () => {
    expect(() => addon.createKvStore({ ...shape, layers: 0 })).toThrow("layers is 0, must be an integer from 1");
    expect(() => addon.createKvStore({ ...shape, blocks: 2.5 })).toThrow("blocks is 2.5, must be an integer");
    const huge = { ...shape, headDim: 4096, blocks: 2 ** 31 - 1, layers: 2 ** 31 - 1, kvHeads: 2 ** 31 - 1 };
    expect(() => addon.createKvStore(huge)).toThrow();
  });

  it("refuses blocks outside the store, and everything once closed", () => {
    const store = addon.createKvStore(shape);
    expect(store.bytes).toBeGreaterThanOrEqual(4 * store.bytesPerBlock);
    expect(() => store.copyBlock(0, 4)).toThrow("to is 4, must be an integer from 0 to 3");
    expect(() => store.copyBlock(-1, 0)).toThrow("from is -1");
    expect(() => store.copyBlock.call({} as typeof store, 0, 1)).toThrow(TypeError);
    store.close();
    store.close();
    expect(() => store.copyBlock(0, 1)).toThrow("the KV store is closed");
    expect(() => store.bytes).toThrow("the KV store is closed");
    const Store = store.constructor as new () => unknown;
    expect(() => new Store()).toThrow("use createKvStore()");
  });

  it("refuses an attention that does not fit its store", () => {
    const store = addon.createKvStore(shape);
    const { input } = packStep([
      { tokenIds: [0], contextLength: 0, blockTable: [0], attention: dense, denseUntil: 1, logits: "none" },
    ]);
    const layer = layerOf(4, 2, 32);
    const attend = (change: object, path = "scalar", threads = 1) =>
      addon.attend(store, path, threads, { ...input, ...layer, qkv: new Float32Array(256), ...change } as AttendInput);
    expect(attend({}).out).toHaveLength(128);
    expect(() => attend({ qkv: new Float32Array(255) })).toThrow("qkv has 255 values, must have 256");
    expect(() => attend({ heads: 3 })).toThrow("heads must be a multiple of kvHeads");
    expect(() => attend({ layer: 2 })).toThrow("layer is 2, must be an integer from 0 to 1");
    expect(() => attend({ headDim: 64 })).toThrow("headDim is 64");
    expect(() => attend({ scale: -1 })).toThrow("scale is -1.000000, must be above 0");
    expect(() => attend({ rotaryDim: 3 })).toThrow("rotaryDim must be even");
    expect(() => attend({ inverseFrequencies: new Float32Array(3) })).toThrow(
      "inverseFrequencies has 3 values, must have 16",
    );
    expect(() => attend({ rowStarts: Int32Array.of(0, 2) })).toThrow("qkv has 256 values, must have 512");
    expect(() => attend({ rowStarts: new Int32Array(0) })).toThrow("rowStarts has 0 values, expected 2");
    expect(() => attend({}, "mmx")).toThrow("path must be one of");
    expect(() => attend({}, "scalar", 0)).toThrow("threads is 0");
    const closing = Object.defineProperty({ ...input, ...layer }, "qkv", {
      get() {
        store.close();
        return new Float32Array(256);
      },
    });
    expect(addon.attend(store, "scalar", 1, closing as unknown as AttendInput).out).toHaveLength(128);
    expect(() => attend({})).toThrow("the KV store is closed");
  });
});
