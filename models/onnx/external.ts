import { statSync, writeSync } from "node:fs";
import { dirname, isAbsolute, join, normalize, sep } from "node:path";
import { replaceFileWith } from "../atomic.ts";
import { ModelError, messageOf } from "../errors.ts";
import type { AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto } from "./messages.ts";
import { byteLength, checkTensor, elementCount, tensorBytes } from "./tensor.ts";

export interface WriteExternal {
  /** File name, relative to the model. */
  readonly location: string;
  /** Smallest tensor, in bytes, that moves out; default 1024. */
  readonly threshold?: number;
}

/** Offsets in a weights file are multiples of this, so that a tensor can be mapped by itself. */
const PAGE = 4096;

/** Every tensor of the model: initializers and attributes, subgraphs and functions included. */
export function* allTensors(model: ModelProto): Generator<TensorProto> {
  if (model.graph) yield* graphTensors(model.graph);
  for (const fn of model.functions) yield* nodeTensors(fn.node);
}

function* graphTensors(graph: GraphProto): Generator<TensorProto> {
  yield* graph.initializer;
  for (const sparse of graph.sparseInitializer) {
    if (sparse.values) yield sparse.values;
    if (sparse.indices) yield sparse.indices;
  }
  yield* nodeTensors(graph.node);
}

function* nodeTensors(nodes: readonly NodeProto[]): Generator<TensorProto> {
  for (const node of nodes) {
    for (const attribute of node.attribute) yield* attributeTensors(attribute);
  }
}

function* attributeTensors(attribute: AttributeProto): Generator<TensorProto> {
  if (attribute.t) yield attribute.t;
  yield* attribute.tensors;
  if (attribute.g) yield* graphTensors(attribute.g);
  for (const graph of attribute.graphs) yield* graphTensors(graph);
}

/**
 * Finds the external bytes of every tensor and notes them in `tensor.external`; checks that all others have as many bytes
 * as their shape asks for. Throws ModelError for a tensor that does not, a location outside the model's folder, a missing
 * file, or one too short for what it should hold.
 */
export function resolveExternalTensors(model: ModelProto, modelPath: string): void {
  const sizes = new Map<string, number>();
  const initializers = new Set(model.graph?.initializer);
  for (const tensor of allTensors(model)) {
    checkTensor(tensor, modelPath);
    if (tensor.dataLocation !== 1) continue;
    const entries = new Map(tensor.externalData.map(({ key, value }) => [key, value]));
    const file = externalFile(tensor, entries.get("location") ?? "", modelPath);
    const offset = integerEntry(tensor, "offset", entries.get("offset") ?? "0", modelPath);
    const length = integerEntry(tensor, "length", entries.get("length") ?? String(byteLength(tensor)), modelPath);
    const size = sizes.get(file) ?? fileSize(file, tensor, modelPath);
    sizes.set(file, size);
    if (length !== byteLength(tensor)) {
      throw new ModelError(
        "file_invalid",
        `${modelPath}: tensor "${tensor.name}" needs ${byteLength(tensor)} bytes, its entry for ${file} says ${length}`,
      );
    }
    if (offset + length > size) {
      throw new ModelError(
        "file_truncated",
        `${file} is truncated: it has ${size} bytes, tensor "${tensor.name}" of ${modelPath} is at ${offset} to ${offset + length}`,
      );
    }
    tensor.external = { file, offset, length };
    // Constants in attributes are small; inside the message they survive a move of the model file.
    if (!initializers.has(tensor)) Object.assign(tensor, inlined(tensor));
  }
}

function externalFile(tensor: TensorProto, location: string, modelPath: string): string {
  const relative = normalize(location);
  // A model file must not be able to name /etc/passwd or ../../secret; ONNX Runtime refuses these too.
  if (location === "" || isAbsolute(relative) || relative === ".." || relative.startsWith(`..${sep}`)) {
    throw new ModelError(
      "file_invalid",
      `${modelPath}: tensor "${tensor.name}" has its data at "${location}", which is not inside the model's folder`,
    );
  }
  return join(dirname(modelPath), relative);
}

function integerEntry(tensor: TensorProto, key: string, text: string, modelPath: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) {
    throw new ModelError(
      "file_invalid",
      `${modelPath}: tensor "${tensor.name}" has external data with ${key} "${text}"`,
    );
  }
  return value;
}

function fileSize(file: string, tensor: TensorProto, modelPath: string): number {
  let reason = "is missing";
  try {
    const stat = statSync(file, { throwIfNoEntry: false });
    if (stat?.isFile()) return stat.size;
    if (stat) reason = "is no file";
  } catch (error) {
    // A name that no file can have.
    reason = `cannot be read (${messageOf(error)})`;
  }
  throw new ModelError(
    "file_missing",
    `the weights file ${file} ${reason}; ${modelPath} keeps tensor "${tensor.name}" (${byteLength(tensor)} bytes) in it`,
  );
}

/**
 * A shallow copy of the model whose initializers are stored as asked: large ones written to the weights file, all others
 * inside the model.
 */
export function externalizeTensors(path: string, model: ModelProto, options?: WriteExternal): ModelProto {
  const graph = model.graph;
  if (!graph) return model;
  if (!options)
    return copyWith(model, { graph: copyWith(graph, { initializer: graph.initializer.map(inlineTensor) }) });
  const { location, threshold = 1024 } = options;
  const initializer = replaceFileWith(join(dirname(path), location), (descriptor) => {
    let end = 0;
    return graph.initializer.map((tensor) => {
      if (tensor.stringData.length > 0 || elementCount(tensor) === 0 || byteLength(tensor) < threshold) {
        return inlineTensor(tensor);
      }
      const offset = Math.ceil(end / PAGE) * PAGE;
      const bytes = tensorBytes(tensor);
      writeFully(descriptor, bytes, offset);
      end = offset + bytes.byteLength;
      return externalTensor(tensor, location, offset, bytes.byteLength);
    });
  });
  return copyWith(model, { graph: copyWith(graph, { initializer }) });
}

/** The tensor with its bytes inside the message; itself when they already are. */
export function inlineTensor(tensor: TensorProto): TensorProto {
  if (!tensor.external && !tensor.deferred) return tensor;
  return copyWith(tensor, inlined(tensor));
}

function inlined(tensor: TensorProto): Partial<TensorProto> {
  return { rawData: tensorBytes(tensor), externalData: [], dataLocation: 0, external: undefined, deferred: undefined };
}

function externalTensor(tensor: TensorProto, location: string, offset: number, length: number): TensorProto {
  const copy = copyWith(tensor, {
    dataLocation: 1,
    externalData: [
      { key: "location", value: location },
      { key: "offset", value: String(offset) },
      { key: "length", value: String(length) },
    ],
    floatData: [],
    doubleData: [],
    int32Data: [],
    int64Data: [],
    uint64Data: [],
    external: undefined,
    deferred: undefined,
  });
  // An own empty rawData would still be written as a present field.
  delete (copy as Partial<TensorProto>).rawData;
  return copy;
}

/** A shallow copy that keeps the message's class, and with it protobuf's defaults and unknown fields. */
function copyWith<T extends object>(message: T, fields: Partial<T>): T {
  const copy = Object.create(Object.getPrototypeOf(message), Object.getOwnPropertyDescriptors(message)) as T;
  return Object.assign(copy, fields);
}

function writeFully(descriptor: number, bytes: Uint8Array, offset: number): void {
  for (let done = 0; done < bytes.byteLength; ) {
    done += writeSync(descriptor, bytes, done, Math.min(bytes.byteLength - done, 1 << 30), offset + done);
  }
}
