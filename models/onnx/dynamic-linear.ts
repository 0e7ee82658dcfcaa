import { scaledIntegers } from "./constant-matrix.ts";
import type { Flow } from "./flow.ts";
import type { Linear } from "./linears.ts";
import type { NodeProto } from "./messages.ts";

/**
 * The product that onnxruntime's quantize_dynamic makes of a MatMul: DynamicQuantizeLinear of the activations, MatMulInteger, Cast,
 * and Mul with both scales. `node` is the last of them; undefined if it is none.
 */
export function dynamicLinear({ graph }: Flow, node: NodeProto): Linear | undefined {
  const [product, scales] = node.input.map((name) => graph.producer(name));
  for (const [cast, scale] of [
    [product, scales],
    [scales, product],
  ] as const) {
    if (cast?.opType !== "Cast" || scale?.opType !== "Mul") continue;
    const integers = graph.producer(cast.input[0]!);
    if (integers?.opType !== "MatMulInteger") continue;
    const [levels = "", weight = "", zero = "", weightZero = ""] = integers.input;
    const quantised = graph.producer(levels);
    if (quantised?.opType !== "DynamicQuantizeLinear" || levels !== quantised.output[0]) continue;
    if (zero !== quantised.output[2]) continue;
    const weightScale = scale.input.find((name) => name !== quantised.output[1]);
    const stored = weightScale === undefined ? undefined : graph.storedTensor(weightScale);
    if (!scale.input.includes(quantised.output[1]!) || !stored) continue;
    const matrix = scaledIntegers(graph, weight, { scale: stored, zeroName: weightZero, axis: 1, blockSize: 0 }, true);
    if (matrix) return { node, input: quantised.input[0]!, weights: { key: `${weight}:integers`, matrix }, planes: 2 };
  }
  return undefined;
}
