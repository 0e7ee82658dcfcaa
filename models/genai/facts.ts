import { ModelError } from "../errors.ts";
import type { Flow } from "../onnx/flow.ts";
import { attribute, describeNode, type Graph, intAttribute } from "../onnx/graph.ts";
import { findHead } from "../onnx/logit-rows.ts";
import type { NodeProto } from "../onnx/messages.ts";
import { cachedRope } from "../onnx/rope-cache.ts";
import { type GenaiConfig, type GraphFacts, genaiFile } from "./config.ts";

/**
 * What the graph of an onnxruntime-genai model tells about it, compared with what genai_config.json does.
 * @param atMost the longest context that the graph is for, if it is not the configuration's
 * @throws ModelError "unsupported_config" naming the field, the node and both numbers
 */
export function graphFacts(flow: Flow, { config }: GenaiConfig, atMost = config.maxPositions): GraphFacts {
  const { graph } = flow;
  checkHeads(graph, config);
  const [embedding] = flow.embeddings;
  // Of a quantised table only whole blocks are known.
  const exact = embedding && graph.producer(embedding.tensor)!.opType === "Gather";
  if (exact && embedding.width !== config.hiddenSize) {
    disagree("model: decoder: hidden_size", config.hiddenSize, `the token embeddings are ${embedding.width} wide`);
  }
  const { positions, ...rope } = cachedRope(graph);
  if (rope.rotaryDim > config.headDim) {
    disagree("model: decoder: head_size", config.headDim, `rope turns ${rope.rotaryDim} components of a head`);
  }
  const maxPositions = Math.min(atMost, config.maxPositions);
  if (positions < maxPositions) {
    disagree("model: context_length", config.maxPositions, `rope's tables have ${positions} positions`);
  }
  const { node: head } = findHead(flow);
  return {
    ...rope,
    inverseFrequencies: [...rope.inverseFrequencies],
    maxPositions,
    normEps: normEps(graph),
    intermediateSize: intermediateSize(flow, head, config.hiddenSize),
    tiedHead: embedding !== undefined && origin(graph, head.input[1]!) === tableOf(flow, embedding.tensor),
  };
}

function disagree(field: string, value: number, found: string): never {
  throw new ModelError("unsupported_config", `${genaiFile}: ${field} is ${value}; in the graph ${found}`);
}

/** What GroupQueryAttention says of its heads; MultiHeadAttention may have KV heads repeated. */
function checkHeads(graph: Graph, { heads, kvHeads }: GenaiConfig["config"]): void {
  for (const node of graph.nodes) {
    if (node.opType !== "GroupQueryAttention") continue;
    for (const [field, name, value] of [
      ["num_attention_heads", "num_heads", heads],
      ["num_key_value_heads", "kv_num_heads", kvHeads],
    ] as const) {
      const found = intAttribute(node, name, value);
      if (found !== value) disagree(`model: decoder: ${field}`, value, `${describeNode(node)} has ${name} = ${found}`);
    }
  }
}

/** Of the first norm; nothing but a description uses it, the norms have their own. */
function normEps(graph: Graph): number {
  const norm = graph.nodes.find((node) => node.opType.endsWith("Normalization") && attribute(node, "epsilon"));
  return norm ? attribute(norm, "epsilon")!.f : 1e-6;
}

/** What the last projection before the head reads: that is the last layer's way back to the hidden size. */
function intermediateSize(flow: Flow, head: NodeProto, hiddenSize: number): number {
  const { graph } = flow;
  const last = graph.nodes.findLast((node) => {
    const projection = node !== head && node.opType !== "Add" ? flow.projection(node.output[0] ?? "") : undefined;
    return projection?.width === hiddenSize;
  });
  if (!last) return 0;
  if (last.opType === "MatMulNBits") return intAttribute(last, "K", 0);
  return graph.constantShape(last.input[1]!)?.[intAttribute(last, "transB", 0)] ?? 0;
}

function tableOf(flow: Flow, tensor: string): string {
  return origin(flow.graph, flow.graph.producer(tensor)!.input[0]!);
}

/** The initializer that a constant is a rearrangement of. */
function origin(graph: Graph, tensor: string): string {
  const node = graph.producer(tensor);
  return node && ["Identity", "Transpose", "Reshape", "Cast"].includes(node.opType)
    ? origin(graph, node.input[0]!)
    : tensor;
}
