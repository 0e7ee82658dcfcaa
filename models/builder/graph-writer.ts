import { writeSync } from "node:fs";
import { type AttributeValue, makeNode } from "../onnx/build.ts";
import { DataType, type NodeProto, TensorMessage, type TensorProto } from "../onnx/messages.ts";
import { rawTensor } from "../onnx/tensor.ts";

/** Offsets in the weights file are multiples of this, so that each tensor can be memory-mapped. */
const PAGE = 4096;
/** Smaller constants stay in the graph. */
const EXTERNAL_FROM = 1024;

export interface NodeOptions {
  readonly domain?: string;
  readonly attributes?: Readonly<Record<string, AttributeValue>>;
}

/**
 * Collects a graph's nodes and constants. Large constants go to the weights file as they come, so that a model need not
 * fit into memory. A value has the name of the node that makes it.
 */
export class GraphWriter {
  readonly nodes: NodeProto[] = [];
  readonly initializers: TensorProto[] = [];
  readonly #descriptor: number;
  readonly #location: string;
  #end = 0;
  #mapped = 0;

  /** `descriptor` is the weights file, open for writing and empty; `location` its name relative to the graph. */
  constructor(descriptor: number, location: string) {
    this.#descriptor = descriptor;
    this.#location = location;
  }

  /** Bytes written to the weights file, padding included, and those that are read where they are. */
  get weightBytes(): number {
    return this.#end + this.#mapped;
  }

  /** Counts weights that nodes read in the model's own files. */
  countMapped(bytes: number): void {
    this.#mapped += bytes;
  }

  /** Adds a node with one output and returns the output's name. */
  node(opType: string, name: string, inputs: readonly string[], options: NodeOptions = {}): string {
    this.multi(opType, name, inputs, [name], options);
    return name;
  }

  /** Adds a node; an empty name among the outputs leaves that one out. */
  multi(
    opType: string,
    name: string,
    inputs: readonly string[],
    outputs: readonly string[],
    { domain = "", attributes = {} }: NodeOptions = {},
  ): void {
    this.nodes.push(makeNode(opType, inputs, outputs, attributes, { domain, name }));
  }

  /** Adds a constant of little-endian elements and returns its name. */
  constant(name: string, dataType: number, dims: readonly number[], values: ArrayBufferView): string {
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    if (bytes.byteLength < EXTERNAL_FROM) {
      this.initializers.push(rawTensor(name, dataType, dims, bytes));
      return name;
    }
    const offset = Math.ceil(this.#end / PAGE) * PAGE;
    for (let done = 0; done < bytes.byteLength; ) {
      done += writeSync(this.#descriptor, bytes, done, bytes.byteLength - done, offset + done);
    }
    this.#end = offset + bytes.byteLength;
    this.#external(name, dataType, dims, offset, bytes.byteLength);
    return name;
  }

  floats(name: string, dims: readonly number[], values: Float32Array): string {
    return this.constant(name, DataType.FLOAT, dims, values);
  }

  integers(name: string, values: readonly number[]): string {
    return this.constant(name, DataType.INT64, [values.length], BigInt64Array.from(values, BigInt));
  }

  /** Another name, and shape, for the bytes of a constant. */
  alias(name: string, dims: readonly number[], of: string): string {
    const tensor = this.initializers.find((candidate) => candidate.name === of);
    if (tensor === undefined) throw new TypeError(`the graph has no constant ${of}`);
    this.initializers.push(TensorMessage.create({ ...tensor, name, dims: [...dims] }));
    return name;
  }

  #external(name: string, dataType: number, dims: readonly number[], offset: number, length: number): void {
    const entries = { location: this.#location, offset: String(offset), length: String(length) };
    const externalData = Object.entries(entries).map(([key, value]) => ({ key, value }));
    this.initializers.push(TensorMessage.create({ name, dataType, dims: [...dims], dataLocation: 1, externalData }));
  }
}
