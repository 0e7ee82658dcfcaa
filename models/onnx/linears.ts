import { packedLayout, packMatrix } from "../builder/pack.ts";
import type { WeightMatrix } from "../builder/weights.ts";
import { type AttributeValue, makeNode } from "./build.ts";
import { blockMatrix, type ConstantMatrix, constantMatrix, scaledIntegers } from "./constant-matrix.ts";
import { dynamicLinear } from "./dynamic-linear.ts";
import type { Flow } from "./flow.ts";
import { type Graph, intAttribute } from "./graph.ts";
import { DataType, type NodeProto, TensorMessage } from "./messages.ts";
import { elementCount } from "./tensor.ts";

/** As attention/native/elements.h numbers them. */
const typeNumbers = { f32: 0, f16: 1, bf16: 2 } as const;
const typeBytes = { f32: 4, f16: 2, bf16: 2 } as const;

/** MatMulNBits' accuracy_level for activations of 8 bits, in blocks like the weights'. */
const INT8_LEVEL = 4;

/** A product of activations with a constant matrix. */
export interface Linear {
  /** The node that makes the output. */
  readonly node: NodeProto;
  readonly input: string;
  readonly weights: ConstantMatrix;
  /** int8 values that an activation becomes where the weights are quantised. */
  readonly planes: 1 | 2;
  /** A constant with one value for each output. */
  readonly bias?: string;
}

/**
 * Makes every product of activations with constant weights sparq.DenseLinear or sparq.QLinear, and every lookup in a table that is
 * not float32 already sparq.DenseEmbedding or sparq.QEmbedding, in place. These read the weights as they are stored, where they are mapped:
 * ONNX Runtime would multiply them out to float32, and keep a rearranged copy. What is in another form stays as it is.
 */
export function fuseLinears(flow: Flow): void {
  const { graph } = flow;
  const stored = new Map<string, Stored>();
  for (const node of [...graph.nodes]) {
    const linear = linearOf(flow, node);
    if (linear) {
      const { input, weights, planes, bias } = linear;
      const { tensor, attributes, kind } = store(graph, stored, weights);
      const inputs = bias === undefined ? [input, tensor] : [input, tensor, bias];
      const all = kind === "QLinear" ? { ...attributes, planes } : attributes;
      graph.replaceNode(node, makeNode(kind, inputs, [node.output[0]!], all, { domain: "sparq", name: node.name }));
      continue;
    }
    const table = tableOf(flow, node);
    if (!table) continue;
    const { tensor, attributes, kind } = store(graph, stored, table);
    const opType = kind === "QLinear" ? "QEmbedding" : "DenseEmbedding";
    const lookup = node.opType === "Gather" ? node : graph.producer(node.input[0]!)!;
    const replacement = makeNode(opType, [lookup.input[1]!, tensor], [node.output[0]!], attributes, {
      domain: "sparq",
      name: node.name,
    });
    graph.replaceNode(node, replacement);
  }
  graph.removeDead();
}

interface Stored {
  readonly tensor: string;
  readonly kind: "QLinear" | "DenseLinear";
  readonly attributes: Readonly<Record<string, AttributeValue>>;
}

/** The matrix as a constant of bytes, once for all that read it. */
function store(graph: Graph, all: Map<string, Stored>, { key, matrix }: ConstantMatrix): Stored {
  const known = all.get(key);
  if (known) return known;
  const name = graph.freshName(`sparq.weights.${all.size}`);
  const { byteLength, bytes, kind, attributes } = encodingOf(matrix);
  graph.addInitializer(TensorMessage.create({ name, dataType: DataType.UINT8, dims: [byteLength], deferred: bytes }));
  const stored = { tensor: name, kind, attributes };
  all.set(key, stored);
  return stored;
}

function encodingOf(matrix: WeightMatrix): Omit<Stored, "tensor"> & { byteLength: number; bytes: () => Uint8Array } {
  if (matrix.kind === "blocks") {
    const { byteLength, attributes } = packedLayout(matrix);
    return { kind: "QLinear", attributes, byteLength, bytes: () => packMatrix(matrix).bytes };
  }
  const { rows, columns, dtype } = matrix;
  return {
    kind: "DenseLinear",
    attributes: { K: columns, N: rows, dtype: typeNumbers[dtype] },
    byteLength: rows * columns * typeBytes[dtype],
    bytes: () => matrix.read(),
  };
}

function linearOf(flow: Flow, node: NodeProto): Linear | undefined {
  const { graph } = flow;
  const [input = "", weight = ""] = node.input;
  if (node.opType === "Mul") return dynamicLinear(flow, node);
  if (!flow.isContent(input) || !graph.isConstant(weight)) return undefined;
  if (node.opType === "MatMul") {
    const weights = constantMatrix(graph, weight, false);
    return weights && { node, input, weights, planes: 2 };
  }
  if (node.opType !== "MatMulNBits") return undefined;
  const weights = blockMatrix(graph, node);
  const planes = intAttribute(node, "accuracy_level", 0) === INT8_LEVEL ? 1 : 2;
  return weights && { node, input, weights, planes, ...(node.input[5] ? { bias: node.input[5] } : {}) };
}

/**
 * The table of an embedding by int64 ids. `node` is a Gather, or the DequantizeLinear behind one in a table of integers with
 * one scale.
 */
function tableOf(flow: Flow, node: NodeProto): ConstantMatrix | undefined {
  const { graph, inputs } = flow;
  if (inputs.ids.type?.tensorType?.elemType !== DataType.INT64) return undefined;
  if (node.opType === "Gather") {
    // A table of integers is looked at with what makes them floats.
    return flow.embedding(node.output[0]!) && constantMatrix(graph, node.input[0]!, true);
  }
  const [rows = "", scaleName = "", zeroName = ""] = node.input;
  const lookup = node.opType === "DequantizeLinear" ? graph.producer(rows) : undefined;
  if (lookup?.opType !== "Gather" || !flow.embedding(rows)) return undefined;
  const scale = graph.storedTensor(scaleName);
  if (!scale || elementCount(scale) !== 1) return undefined;
  const table = lookup.input[0]!;
  const matrix = scaledIntegers(graph, table, { scale, zeroName, axis: 0, blockSize: 0 }, false);
  return matrix && { key: `${table}:rows`, matrix };
}
