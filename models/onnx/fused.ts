import { attribute, describeNode, intAttribute } from "./graph.ts";
import type { NodeProto } from "./messages.ts";

/** What an operator that is a whole attention reads and makes. */
export interface FusedOperands {
  readonly queries: readonly string[];
  /** With the input that has the cached ones, if there is one. */
  readonly keys: readonly string[];
  readonly values: readonly string[];
  readonly result: string;
}

/** Where the cached keys are among the inputs; the cached values follow. By domain and operator. */
const pastKeyInputs: Readonly<Record<string, number>> = {
  Attention: 4,
  "com.microsoft.GroupQueryAttention": 3,
  "com.microsoft.MultiHeadAttention": 6,
};

/**
 * Inputs and attributes that make an operator another function than softmax(q k^T) v with a mask, by their names in its
 * schema. An input counts when it is connected, an attribute when it is not 0.
 */
const refusedInputs: Readonly<Record<string, readonly (readonly [number, string])[]>> = {
  "com.microsoft.GroupQueryAttention": [
    [11, "head_sink"],
    [12, "k_scale"],
    [13, "v_scale"],
    [14, "q_norm_weight"],
    [15, "k_norm_weight"],
  ],
  "com.microsoft.MultiHeadAttention": [
    [8, "past_sequence_length"],
    [9, "cache_indirection"],
  ],
};
const refusedAttributes = ["softcap", "smooth_softmax", "qk_output", "kv_cache_bit_width"];

/** Opset 23's Attention, and those of ONNX Runtime: "Attention", "com.microsoft.GroupQueryAttention". */
function kindOf({ opType, domain }: NodeProto): string {
  return domain === "" || domain === "ai.onnx" ? opType : `${domain}.${opType}`;
}

/** Whether a node is a whole attention. */
export function isFused(node: NodeProto): boolean {
  return Object.hasOwn(pastKeyInputs, kindOf(node));
}

/** Says through `fail` what the operator does that ours does not. */
export function checkFused(node: NodeProto, fail: (message: string) => never): void {
  for (const name of refusedAttributes) {
    const found = attribute(node, name);
    if (found?.f || intAttribute(node, name, 0) > 0) fail(`${describeNode(node)} has a ${name}`);
  }
  for (const [index, name] of refusedInputs[kindOf(node)] ?? []) {
    if (node.input[index]) fail(`${describeNode(node)} reads the ${name} "${node.input[index]}"`);
  }
}

/**
 * Queries, keys and values may be packed: then the first input is all three (or the second one keys and values), and the
 * others are left out.
 */
export function fusedOperands(node: NodeProto): FusedOperands {
  const [query = "", key = "", value = ""] = node.input;
  const first = pastKeyInputs[kindOf(node)]!;
  const [pastKey = "", pastValue = ""] = node.input.slice(first, first + 2);
  return {
    queries: [query],
    keys: [key || query, pastKey].filter(Boolean),
    values: [value || key || query, pastValue].filter(Boolean),
    result: node.output[0]!,
  };
}
