import { makeAttribute, makeNode } from "./build.ts";
import {
  type AttributeProto,
  DataType,
  type GraphProto,
  type ModelProto,
  type NodeProto,
  type TensorProto,
  toNumber,
  ValueInfoMessage,
} from "./messages.ts";
import { graphOf } from "./proto.ts";
import { elementCount, floatTensor, tensorShape, tensorToFloat32 } from "./tensor.ts";

const halves: ReadonlySet<number> = new Set([DataType.FLOAT16, DataType.BFLOAT16]);

/** Attributes that name the element type of a node's output. */
const typeAttributes = new Set(["to", "dtype", "output_dtype"]);

/** Matrices from this size on stay as they are stored, behind a Cast. */
const KEPT_FROM = 256;

/**
 * Makes a graph that computes in float16 or bfloat16 one that computes in float32, in place: every tensor of the narrow types
 * becomes float32, large constants stay narrow and get a Cast. ONNX Runtime computes float16 on CPUs the same way, by Casts
 * around each node. Inputs and outputs are new messages, so a list of the old ones keeps the old types.
 * @returns whether the graph computed in a narrow type, not only stored weights in one
 */
export function widenHalves(model: ModelProto): boolean {
  const graph = graphOf(model);
  const narrow = computesNarrow(graph);
  const casts: NodeProto[] = [];
  const names = new Set([
    ...graph.initializer.map(({ name }) => name),
    ...graph.node.flatMap(({ output }) => output),
    ...graph.input.map(({ name }) => name),
  ]);
  graph.initializer = graph.initializer.map((tensor) => {
    if (!halves.has(tensor.dataType)) return tensor;
    if (tensor.dims.length < 2 || elementCount(tensor) < KEPT_FROM) return widened(tensor);
    const { name } = tensor;
    let stored = `${name}.narrow`;
    while (names.has(stored)) stored += "_";
    names.add(stored);
    tensor.name = stored;
    casts.push(makeNode("Cast", [stored], [name], { to: DataType.FLOAT }));
    return tensor;
  });
  for (const node of graph.node) widenAttributes(node);
  graph.node.unshift(...casts);
  for (const values of [graph.input, graph.output]) {
    for (const [index, value] of values.entries()) {
      const type = value.type?.tensorType;
      if (!type || !halves.has(type.elemType)) continue;
      const tensorType = { elemType: DataType.FLOAT, shape: type.shape };
      values[index] = ValueInfoMessage.create({ name: value.name, type: { denotation: "", tensorType } });
    }
  }
  return narrow;
}

function computesNarrow({ input, output, node }: GraphProto): boolean {
  const typed = [...input, ...output].some(({ type }) => halves.has(type?.tensorType?.elemType ?? 0));
  const cast = ({ name, i }: AttributeProto) => typeAttributes.has(name) && halves.has(toNumber(i));
  return typed || node.some(({ attribute }) => attribute.some(cast));
}

function widened(tensor: TensorProto): TensorProto {
  return floatTensor(tensor.name, tensorShape(tensor), tensorToFloat32(tensor));
}

function widenAttributes(node: NodeProto): void {
  node.attribute = node.attribute.map((attribute) => {
    if (attribute.t && halves.has(attribute.t.dataType)) {
      return makeAttribute(attribute.name, { tensor: widened(attribute.t) });
    }
    const narrow = typeAttributes.has(attribute.name) && halves.has(toNumber(attribute.i));
    return narrow ? makeAttribute(attribute.name, DataType.FLOAT) : attribute;
  });
}
