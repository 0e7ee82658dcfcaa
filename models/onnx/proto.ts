/** Reading and writing .onnx files. The messages are in messages.ts, tensors in tensor.ts, external files in external.ts. */
import { readFileSync } from "node:fs";
import { replaceFile } from "../atomic.ts";
import { ModelError, messageOf } from "../errors.ts";
import { externalizeTensors, resolveExternalTensors, type WriteExternal } from "./external.ts";
import { type GraphProto, ModelMessage, type ModelProto } from "./messages.ts";

export * from "./build.ts";
export * from "./messages.ts";
export * from "./tensor.ts";

/**
 * Reads a model. Tensors in external files stay there: their place is checked now and noted in `tensor.external`, their
 * bytes are read by `tensorBytes`. Throws ModelError, naming the file, for bytes that are no ONNX model, for a truncated
 * one, and for external files that are missing or too short.
 */
export function readModel(path: string): ModelProto {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw new ModelError("file_missing", `cannot read the model ${path}: ${messageOf(error)}`, { cause: error });
  }
  const model = decodeModel(bytes, path);
  resolveExternalTensors(model, path);
  return model;
}

/** Decodes a model from memory; `source` is the file that errors name. External tensors are left unresolved. */
export function decodeModel(bytes: Uint8Array, source: string): ModelProto {
  let model: ModelProto;
  try {
    model = ModelMessage.decode(bytes);
  } catch (error) {
    throw new ModelError(
      "file_invalid",
      `${source} (${bytes.byteLength} bytes) is truncated or not an ONNX model: ${messageOf(error)}`,
      { cause: error },
    );
  }
  // Protobuf accepts many foreign bytes as unknown fields; a real model has all of these.
  const missing = [
    model.graph === null && "a graph",
    model.graph?.node.length === 0 && "nodes",
    model.graph?.output.length === 0 && "outputs",
    model.opsetImport.length === 0 && "an opset",
  ].filter(Boolean);
  if (missing.length > 0) {
    throw new ModelError(
      "file_invalid",
      `${source} (${bytes.byteLength} bytes) is truncated or not an ONNX model: it lacks ${missing.join(", ")}`,
    );
  }
  return model;
}

/** The model's graph, which `readModel` has checked to exist. */
export function graphOf(model: ModelProto): GraphProto {
  if (model.graph === null) throw new TypeError("the model has no graph");
  return model.graph;
}

/** The bytes of an .onnx file. External tensors keep their reference. Protobuf's limit is 2 GiB. */
export function encodeModel(model: ModelProto): Uint8Array {
  return ModelMessage.encode(model);
}

export interface WriteModelOptions {
  /**
   * Put the tensors of at least `threshold` bytes (1024 if not said) into the file `location` beside the model, each at a
   * multiple of 4096 bytes so that it can be memory-mapped. Without it every tensor goes into the model file, external
   * ones too.
   */
  readonly externalData?: WriteExternal;
}

/**
 * Writes a model, and its weights file if asked for. Each file appears whole or not at all (written beside and renamed,
 * the weights first). `model` is not changed.
 */
export function writeModel(path: string, model: ModelProto, options: WriteModelOptions = {}): void {
  const written = externalizeTensors(path, model, options.externalData);
  replaceFile(path, encodeModel(written));
}
