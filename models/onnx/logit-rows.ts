import { ModelError } from "../errors.ts";
import type { Flow, Projection } from "./flow.ts";
import { attribute, describeNode, intAttribute } from "./graph.ts";
import { type NodeProto, toNumber } from "./messages.ts";

/** A tensor with one row per token, from which only the wanted rows need to go on. */
export interface GatherPoint {
  readonly tensor: string;
  /** The axis of the tokens. */
  readonly axis: number;
}

/** Behind the head's product: bias, scale, type, rounding. */
const headOps = new Set(["Identity", "Cast", "Add", "Mul", "Div", "QuantizeLinear", "DequantizeLinear"]);
/** Of these, the ones that count as parts of a projection elsewhere. */
const partsOfProjections = new Set(["Add", "DequantizeLinear"]);
/** Row by row whatever their attributes are, when the other operand is constant or has the same rows. */
const elementwiseOps = new Set([
  "Identity",
  "Cast",
  "Dropout",
  "Add",
  "Sub",
  "Mul",
  "Div",
  "Pow",
  "Sqrt",
  "Reciprocal",
  "Neg",
]);
const normOps = new Set(["LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"]);

/**
 * Where to pick the rows whose logits are wanted: at the last residual sum, before the final norm, if all that lies
 * between it and the head works row by row; else right before the head.
 * @throws ModelError "unsupported_graph" when there is no output "logits" that a projection makes
 */
export function rowGatherPoint(flow: Flow): GatherPoint {
  const { node, projection } = findHead(flow);
  let point = node.input[0]!;
  // A cut of the graph moved backwards from the head; where it is a single tensor, rows can be gathered.
  const cut = new Set([point]);
  const order = new Map(flow.graph.nodes.map((member, index) => [member, index]));
  for (;;) {
    const latest = [...cut].sort((a, b) => producedAt(b) - producedAt(a))[0]!;
    const producer = flow.graph.producer(latest);
    const stop = !producer || flow.projection(latest) || flow.embedding(latest) || !isRowWise(producer, flow);
    if (stop) break;
    cut.delete(latest);
    for (const input of flow.contentInputs(producer)) cut.add(input);
    if (cut.size === 1) point = [...cut][0]!;
  }
  return { tensor: point, axis: projection.rank - 2 };

  function producedAt(tensor: string): number {
    const producer = flow.graph.producer(tensor);
    return producer ? order.get(producer)! : -1;
  }
}

/**
 * The projection that makes the logits, and its node.
 * @throws ModelError "unsupported_graph" when there is none or the output "logits" is missing
 */
export function findHead(flow: Flow): { node: NodeProto; projection: Projection } {
  const { graph } = flow;
  const outputs = graph.proto.output.map(({ name }) => name);
  if (!outputs.includes("logits")) {
    throw new ModelError("unsupported_graph", `the graph has no output "logits", only ${outputs.join(", ")}`);
  }
  for (let tensor = "logits"; ; ) {
    const node = graph.producer(tensor);
    const content = node ? flow.contentInputs(node) : [];
    const projection = node && !partsOfProjections.has(node.opType) ? flow.projection(tensor) : undefined;
    if (node && projection) return { node, projection };
    if (!node || !headOps.has(node.opType) || content.length !== 1) {
      const place = node ? describeNode(node) : `"${tensor}"`;
      throw new ModelError("unsupported_graph", `${place} is between the output "logits" and its projection`);
    }
    tensor = content[0]!;
  }
}

function isRowWise(node: NodeProto, flow: Flow): boolean {
  const others = node.input.filter((name) => name !== "" && !flow.isContent(name));
  if (!others.every((name) => flow.graph.isConstant(name))) return false;
  if (normOps.has(node.opType)) return [-1, 2].includes(intAttribute(node, "axis", -1));
  if (node.opType === "ReduceMean") {
    const axes =
      attribute(node, "axes")?.ints.map(toNumber) ?? (node.input[1] ? flow.graph.integers(node.input[1]) : []);
    return intAttribute(node, "keepdims", 1) === 1 && axes?.length === 1 && [-1, 2].includes(axes[0]!);
  }
  // A constant with a row of its own for each token would not follow the gathered rows.
  return elementwiseOps.has(node.opType) && others.every((name) => (flow.graph.constantShape(name)?.length ?? 9) <= 1);
}
