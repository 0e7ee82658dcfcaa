import { ModelError } from "../errors.ts";
import {
  type AttributeProto,
  type GraphProto,
  type ModelProto,
  type NodeProto,
  type TensorProto,
  toNumber,
} from "./messages.ts";
import { graphOf } from "./proto.ts";
import { tensorShape, tensorToNumbers } from "./tensor.ts";

/** Outputs of these depend on more than their inputs, so they are never constants. */
const randomOps = new Set([
  "RandomNormal",
  "RandomUniform",
  "RandomNormalLike",
  "RandomUniformLike",
  "Multinomial",
  "Bernoulli",
]);

/**
 * An editable view of a model's main graph: who produces and who reads each tensor, and what is constant. Edits go
 * through the methods, which keep the indices right and change the model's own messages.
 */
export class Graph {
  readonly proto: GraphProto;
  readonly model: ModelProto;
  readonly initializers = new Map<string, TensorProto>();
  readonly #producers = new Map<string, NodeProto>();
  readonly #consumers = new Map<string, Set<NodeProto>>();
  readonly #constants = new Set<string>();
  readonly #names = new Set<string>();

  /** Throws ModelError for subgraphs, functions and sparse weights, which decoder exports of transformers do not have. */
  constructor(model: ModelProto) {
    this.model = model;
    this.proto = graphOf(model);
    refuseUnsupported(model);
    // Older files list initializers as inputs too.
    for (const tensor of this.proto.initializer) this.#addInitializer(tensor);
    this.proto.input = this.proto.input.filter(({ name }) => !this.initializers.has(name));
    for (const { name } of this.proto.input) this.#names.add(name);
    for (const node of this.proto.node) this.#link(node);
  }

  /** In an order in which every node comes after those it reads from. */
  get nodes(): readonly NodeProto[] {
    return this.proto.node;
  }

  /** Names of the inputs that a caller feeds. */
  get inputs(): string[] {
    return this.proto.input.map(({ name }) => name);
  }

  /** The node that makes a tensor; undefined for inputs and initializers. */
  producer(tensor: string): NodeProto | undefined {
    return this.#producers.get(tensor);
  }

  /** Nodes that read a tensor, each once. */
  consumers(tensor: string): NodeProto[] {
    return [...(this.#consumers.get(tensor) ?? [])];
  }

  /** Whether a tensor depends on initializers and attributes alone. */
  isConstant(tensor: string): boolean {
    return this.#constants.has(tensor);
  }

  /** The stored tensor behind a constant, looking through Constant, Identity and Cast; the element type may differ. */
  storedTensor(tensor: string): TensorProto | undefined {
    const stored = this.initializers.get(tensor);
    if (stored) return stored;
    const node = this.producer(tensor);
    if (node?.opType === "Constant") return attribute(node, "value")?.t ?? undefined;
    if (node?.opType === "Identity" || node?.opType === "Cast") return this.storedTensor(node.input[0]!);
    return undefined;
  }

  /** Integer values of a small constant, or undefined if the tensor is none that can be read directly. */
  integers(tensor: string): number[] | undefined {
    const node = this.producer(tensor);
    if (node?.opType === "Constant") {
      const list = attribute(node, "value_ints") ?? attribute(node, "value_int");
      if (list) return list.name === "value_int" ? [toNumber(list.i)] : list.ints.map(toNumber);
    }
    const stored = this.storedTensor(tensor);
    return stored && tensorToNumbers(stored);
  }

  /** Dimensions of a constant, looking through Transpose too; undefined when they would have to be computed. */
  constantShape(tensor: string): number[] | undefined {
    const stored = this.storedTensor(tensor);
    if (stored) return tensorShape(stored);
    const node = this.producer(tensor);
    const inner = node?.input[0] === undefined ? undefined : this.constantShape(node.input[0]);
    if (!node || !inner) return undefined;
    if (node.opType === "Identity" || node.opType === "Cast" || node.opType === "DequantizeLinear") return inner;
    if (node.opType !== "Transpose") return undefined;
    const permutation = attribute(node, "perm")?.ints.map(toNumber) ?? inner.map((_, axis) => inner.length - 1 - axis);
    return permutation.map((axis) => inner[axis]!);
  }

  /** A tensor name that nothing uses yet. */
  freshName(base: string): string {
    let name = base;
    for (let i = 1; this.#names.has(name); i++) name = `${base}_${i}`;
    this.#names.add(name);
    return name;
  }

  addInitializer(tensor: TensorProto): void {
    this.proto.initializer.push(tensor);
    this.#addInitializer(tensor);
  }

  /** Puts nodes before another one, in the order given. */
  insertBefore(place: NodeProto, ...nodes: NodeProto[]): void {
    this.proto.node.splice(this.proto.node.indexOf(place), 0, ...nodes);
    for (const node of nodes) this.#link(node);
  }

  /** Puts a node that makes the same tensors in another one's place. */
  replaceNode(old: NodeProto, node: NodeProto): void {
    this.proto.node.splice(this.proto.node.indexOf(old), 1, node);
    this.#unlink(old);
    this.#link(node);
  }

  /** Makes every reader of one tensor read another, or only the readers given. Graph outputs are left as they are. */
  replaceUses(from: string, to: string, readers: readonly NodeProto[] = this.consumers(from)): void {
    for (const node of readers) {
      node.input = node.input.map((name) => (name === from ? to : name));
      this.#consumers.get(from)?.delete(node);
      this.#reads(to).add(node);
    }
  }

  /** Removes nodes and initializers that no output depends on, and all shape annotations, which may be stale. */
  removeDead(): void {
    const needed = new Set(this.proto.output.map(({ name }) => name));
    const kept: NodeProto[] = [];
    for (const node of [...this.proto.node].reverse()) {
      if (!node.output.some((name) => needed.has(name))) {
        this.#unlink(node);
        continue;
      }
      kept.push(node);
      for (const name of node.input) needed.add(name);
    }
    this.proto.node = kept.reverse();
    this.proto.initializer = this.proto.initializer.filter(({ name }) => needed.has(name));
    for (const name of [...this.initializers.keys()]) if (!needed.has(name)) this.initializers.delete(name);
    this.proto.valueInfo = [];
    this.proto.quantizationAnnotation = [];
  }

  #addInitializer(tensor: TensorProto): void {
    this.initializers.set(tensor.name, tensor);
    this.#constants.add(tensor.name);
    this.#names.add(tensor.name);
  }

  #reads(tensor: string): Set<NodeProto> {
    const readers = this.#consumers.get(tensor) ?? new Set();
    this.#consumers.set(tensor, readers);
    return readers;
  }

  #link(node: NodeProto): void {
    for (const name of node.input) if (name !== "") this.#reads(name).add(node);
    const constant =
      !randomOps.has(node.opType) && node.input.every((name) => name === "" || this.#constants.has(name));
    for (const name of node.output) {
      if (name === "") continue;
      this.#producers.set(name, node);
      this.#names.add(name);
      if (constant) this.#constants.add(name);
    }
  }

  #unlink(node: NodeProto): void {
    for (const name of node.input) this.#consumers.get(name)?.delete(node);
    for (const name of node.output) this.#producers.delete(name);
  }
}

export function attribute(node: NodeProto, name: string): AttributeProto | undefined {
  return node.attribute.find((candidate) => candidate.name === name);
}

/** An integer attribute, or its default when the node does not have it. */
export function intAttribute(node: NodeProto, name: string, fallback: number): number {
  const found = attribute(node, name);
  return found ? toNumber(found.i) : fallback;
}

/** How errors name a node: `node "/layers.0/Softmax" (Softmax)`; nodes without a name go by what they make. */
export function describeNode(node: NodeProto): string {
  const operator = node.domain === "" || node.domain === "ai.onnx" ? node.opType : `${node.domain}.${node.opType}`;
  return node.name ? `node "${node.name}" (${operator})` : `the ${operator} node that makes "${node.output[0]}"`;
}

function refuseUnsupported(model: ModelProto): void {
  const fn = model.functions[0];
  if (fn) throw new ModelError("unsupported_graph", `the graph defines a function of its own, ${fn.domain}.${fn.name}`);
  const graph = graphOf(model);
  const nested = graph.node.find((node) => node.attribute.some(({ g, graphs }) => g !== null || graphs.length > 0));
  if (nested) throw new ModelError("unsupported_graph", `${describeNode(nested)} has a graph inside it`);
  const sparse = graph.sparseInitializer[0];
  if (sparse)
    throw new ModelError("unsupported_graph", `the weight "${sparse.values?.name}" is stored as a sparse tensor`);
}
