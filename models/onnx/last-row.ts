import { type Graph, intAttribute } from "./graph.ts";
import type { NodeProto } from "./messages.ts";

/** Between the choice of a row and the logits: products with constants, and what goes with them. */
const followed = new Set(["MatMul", "MatMulNBits", "Gemm", "Add", "Mul", "Div", "Cast", "Identity"]);

/**
 * A graph that is only meant to generate may compute logits for the last token alone. Takes the choice out, so that there are
 * logits for all tokens, of which the caller says which it wants.
 * @returns whether there was such a choice
 */
export function keepAllRows(graph: Graph): boolean {
  for (let tensor: string | undefined = "logits"; tensor !== undefined; ) {
    const node = graph.producer(tensor);
    if (!node) return false;
    const all = allRowsOf(graph, node);
    if (all !== undefined) {
      graph.replaceUses(tensor, all);
      return true;
    }
    const read = node.input.filter((name) => name !== "" && !graph.isConstant(name));
    tensor = followed.has(node.opType) && read.length === 1 ? read[0] : undefined;
  }
  return false;
}

/** What a node chooses the last token of, [batch, tokens, hidden], if that is what it does and it keeps the dimension. */
function allRowsOf(graph: Graph, node: NodeProto): string | undefined {
  const [data = "", second = ""] = node.input;
  const is = (tensor: string | undefined, value: number) => {
    const values = tensor ? graph.integers(tensor) : undefined;
    return values?.length === 1 && values[0] === value;
  };
  if (node.opType === "Unsqueeze" && is(second, 1)) {
    const gather = graph.producer(data);
    const chosen = gather?.opType === "Gather" && intAttribute(gather, "axis", 0) === 1 && is(gather.input[1], -1);
    return chosen && graph.constantShape(gather.input[1]!)?.length === 0 ? gather.input[0] : undefined;
  }
  if (node.opType === "Gather" && intAttribute(node, "axis", 0) === 1 && is(second, -1)) {
    return graph.constantShape(second)?.length === 1 ? data : undefined;
  }
  if (node.opType === "Slice" && is(second, -1) && is(node.input[3], 1)) {
    const end = graph.integers(node.input[2] ?? "");
    return end?.length === 1 && end[0]! > 2 ** 30 && (node.input[4] ? is(node.input[4], 1) : true) ? data : undefined;
  }
  return undefined;
}
