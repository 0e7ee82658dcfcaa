import { ModelError } from "../errors.ts";
import { makeNode } from "./build.ts";
import { describeNode } from "./graph.ts";
import type { GraphProto, NodeProto } from "./messages.ts";
import { byteLength, rawTensor, tensorBytes, tensorShape } from "./tensor.ts";

/**
 * MultiHeadAttention may add the biases of the projections itself, all three in one tensor. Adds them in front of it instead,
 * where they are part of the projections as in any other graph.
 * @throws ModelError "attention_unproven" for a bias that is no constant, or queries, keys and values that are packed
 */
export function addBiasesBefore(graph: GraphProto): void {
  graph.node = graph.node.flatMap((node) => {
    const biased = node.opType === "MultiHeadAttention" && node.domain === "com.microsoft" && node.input[3];
    return biased ? [...biasesOf(graph, node), node] : [node];
  });
}

/** The additions that go before the operator, which then reads their results. */
function biasesOf(graph: GraphProto, node: NodeProto): NodeProto[] {
  const name = node.input[3]!;
  const bias = graph.initializer.find((tensor) => tensor.name === name);
  const shape = bias ? tensorShape(bias) : [];
  if (!bias || shape.length !== 1 || shape[0]! % 3 !== 0 || !node.input.slice(0, 3).every(Boolean)) {
    throw new ModelError(
      "attention_unproven",
      `attention cannot be proven: ${describeNode(node)} has a bias "${name}" of shape [${shape}] that cannot be shared out ` +
        "among queries, keys and values",
    );
  }
  const length = shape[0]! / 3;
  const bytes = tensorBytes(bias);
  const step = byteLength(bias) / 3;
  node.input[3] = "";
  return ["query", "key", "value"].map((what, index) => {
    const own = `${node.output[0]}.${what}_bias`;
    const sum = `${node.output[0]}.${what}`;
    graph.initializer.push(rawTensor(own, bias.dataType, [length], bytes.slice(index * step, (index + 1) * step)));
    const addition = makeNode("Add", [node.input[index]!, own], [sum]);
    node.input[index] = sum;
    return addition;
  });
}
