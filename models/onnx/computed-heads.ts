import { Tensor } from "onnxruntime-node";
import type { ModelConfig } from "../types.ts";
import { makeNode } from "./build.ts";
import { decoderFeed } from "./feeds.ts";
import type { Flow } from "./flow.ts";
import { computedOperands, linearOps } from "./match.ts";
import type { NodeProto } from "./messages.ts";
import { cutOut, openCut } from "./probe.ts";
import { int64Tensor } from "./tensor.ts";

/** Numbers of tokens to try shapes with: one of them is none of the model's sizes. */
const TOKENS = [11, 13, 17, 19, 23];

/** A tensor with all heads of each token: [.., tokens, heads, head dim], [.., heads, tokens, head dim] or [.., tokens, width]. */
interface HeadsShape {
  /** As a run with `tokens` tokens has them. */
  readonly dims: readonly number[];
  readonly tokensAxis: number;
  /** Of all heads together. */
  readonly width: number;
}

/**
 * Norms of each head's query and key written out in single operations (Qwen 3), and whatever else is computed between
 * projections and rope, stay in the graph. What they make is laid out as a projection lays it out, [1, tokens, width], and
 * counts as one from then on: the attention behind it is matched, proven and replaced like any other. That what stays works
 * token by token is for the self check to find. Tensors that have no such shape are left, to be refused by their node.
 */
export async function exposeComputedHeads(flow: Flow, config: ModelConfig): Promise<void> {
  const made = computedOperands(flow).map(({ output }) => lastBeforeRope(flow, output[0]!));
  for (const [tensor, shape] of await measureShapes(flow, [...new Set(made)], config)) layOut(flow, tensor, shape);
}

/** Forward through a norm's weights and rearranging to where rope takes the tensor apart, or the attention takes it whole. */
function lastBeforeRope({ graph }: Flow, start: string): string {
  for (let tensor = start; ; ) {
    const [node, ...others] = graph.consumers(tensor).filter(({ opType }) => opType !== "Shape");
    const goesOn =
      node !== undefined &&
      others.length === 0 &&
      linearOps.has(node.opType) &&
      node.opType !== "RotaryEmbedding" &&
      node.output.length === 1 &&
      node.input.every((name) => name === tensor || graph.isConstant(name));
    if (!goesOn) return tensor;
    tensor = node.output[0]!;
  }
}

/** Their shapes in a run; those that depend on more than projections, or do not have all heads of each token, are left out. */
async function measureShapes(
  flow: Flow,
  tensors: readonly string[],
  config: ModelConfig,
): Promise<Map<string, HeadsShape>> {
  const shapes = new Map<string, HeadsShape>();
  const usable = tensors.filter((tensor) => {
    const { values, nodes } = cutOut(flow, [tensor]);
    return (
      values.every(({ name }) => name === flow.inputs.ids.name) && nodes.every(({ opType }) => opType !== "Softmax")
    );
  });
  if (usable.length === 0) return shapes;
  const { heads, kvHeads, headDim } = config;
  const tokens = TOKENS.find((count) => ![heads, kvHeads, headDim].includes(count))!;
  const cut = cutOut(flow, usable);
  const session = await openCut(flow, cut, usable);
  try {
    const feeds = cut.projections.map(({ tensor, width, rank }): [string, Tensor] => {
      const values = Float32Array.from({ length: tokens * width }, (_, i) => Math.sin(i));
      return [tensor, new Tensor("float32", values, rank === 2 ? [tokens, width] : [1, tokens, width])];
    });
    const ids = new Array<number>(tokens).fill(0);
    for (const value of cut.values) {
      feeds.push([value.name, decoderFeed(value, { tokens, past: 0 }, config, ids, () => new Float32Array(0))]);
    }
    const results = await session.run(Object.fromEntries(feeds));
    for (const tensor of usable) {
      const { dims } = results[tensor]!;
      const tokensAxis = dims.indexOf(tokens);
      const width = dims.reduce((product, size) => product * size, 1) / tokens;
      const fits = dims.length > 1 && tokensAxis >= 0 && tokensAxis < dims.length - 1 && width % headDim === 0;
      if (fits && (dims.at(-1) === headDim || dims.at(-1) === width)) shapes.set(tensor, { dims, tokensAxis, width });
    }
  } finally {
    await session.release();
  }
  return shapes;
}

/** Puts a detour over [1, tokens, width] behind a tensor; its second half goes when the attention is replaced. */
function layOut(flow: Flow, tensor: string, { dims, tokensAxis, width }: HeadsShape): void {
  const { graph } = flow;
  const readers = graph.consumers(tensor);
  const nodes: NodeProto[] = [];
  const add = (opType: string, input: string, more: readonly string[], permutation?: readonly number[]): string => {
    const output = graph.freshName(`${tensor}.${opType.toLowerCase()}`);
    nodes.push(makeNode(opType, [input, ...more], [output], permutation ? { perm: permutation } : {}));
    flow.declareContent(output);
    return output;
  };
  const reshape = (input: string, sizes: readonly number[]): string => {
    const shape = graph.freshName(`${tensor}.shape`);
    graph.addInitializer(int64Tensor(shape, [sizes.length], sizes));
    return add("Reshape", input, [shape]);
  };
  // Tokens come right before the heads; swapping two neighbours undoes itself.
  const heads = dims.length - 2;
  const swap = tokensAxis === heads && dims.at(-1) !== width ? dims.map((_, axis) => axis) : undefined;
  swap?.splice(heads - 1, 2, heads, heads - 1);
  const tokensFirst = swap ? add("Transpose", tensor, [], swap) : tensor;
  const projection = reshape(tokensFirst, [1, -1, width]);
  flow.declareProjection({ tensor: projection, width, rank: 3 });
  const sizes = dims.map((size, axis) => (axis === tokensAxis ? -1 : size));
  const restored = reshape(projection, swap ? swap.map((axis) => sizes[axis]!) : sizes);
  const last = swap ? add("Transpose", restored, [], swap) : restored;
  graph.insertBefore(readers[0]!, ...nodes);
  graph.replaceUses(tensor, last, readers);
}
