import type { Graph } from "./graph.ts";
import { intAttribute } from "./graph.ts";
import { DataType } from "./messages.ts";
import { byteLength, dataTypeName, elementCount } from "./tensor.ts";

/** What a graph holds in weights. */
export interface WeightSummary {
  /** Stored weights; a tied embedding counts once, packed 4-bit weights count as what they unpack to. */
  readonly parameters: number;
  readonly weightBytes: number;
  /** The kinds that hold most of them, e.g. "f16", "4-bit blocks of 32 (MatMulNBits), f32". */
  readonly weights: string;
}

const floatNames = new Map<number, string>([
  [DataType.FLOAT, "f32"],
  [DataType.FLOAT16, "f16"],
  [DataType.BFLOAT16, "bf16"],
  [DataType.DOUBLE, "f64"],
]);

/** The operators of ours over weights, and how they number types of floats. */
const ownWeights = new Set(["QLinear", "QEmbedding", "DenseLinear", "DenseEmbedding"]);
const denseNames = ["f32", "f16", "bf16"];

export function summariseWeights(graph: Graph): WeightSummary {
  const kinds = new Map<string, number>();
  const packed = new Set<string>();
  const count = (kind: string, elements: number) => kinds.set(kind, (kinds.get(kind) ?? 0) + elements);
  for (const node of graph.nodes) {
    const weights = node.domain === "sparq" && ownWeights.has(node.opType) ? node.input[1] : undefined;
    if (weights !== undefined) {
      // One matrix may be both table and output layer.
      if (!packed.has(weights)) {
        const [bits, block] = [intAttribute(node, "bits", 0), intAttribute(node, "block_size", 0)];
        const kind = bits > 0 ? `${bits}-bit blocks of ${block}` : denseNames[intAttribute(node, "dtype", 0)]!;
        count(kind, intAttribute(node, "N", 0) * intAttribute(node, "K", 0));
      }
      packed.add(weights);
    }
    if (node.opType !== "MatMulNBits") continue;
    const [bits, block] = [intAttribute(node, "bits", 4), intAttribute(node, "block_size", 32)];
    count(`${bits}-bit blocks of ${block} (MatMulNBits)`, intAttribute(node, "N", 0) * intAttribute(node, "K", 0));
    // Packed weights, scales and zero points belong to those just counted.
    for (const name of node.input.slice(1, 4)) packed.add(name);
  }
  let weightBytes = 0;
  for (const tensor of graph.initializers.values()) {
    weightBytes += byteLength(tensor);
    // Integers elsewhere are shapes, axes and the like, unless they are quantised weights of 8 bits.
    const small = tensor.dataType === DataType.INT8 || tensor.dataType === DataType.UINT8;
    const kind = floatNames.get(tensor.dataType) ?? (small ? dataTypeName(tensor.dataType).toLowerCase() : undefined);
    const elements = elementCount(tensor);
    // Single numbers are epsilons and scales of the operators, and rope's frequencies are ours.
    if (kind && elements > 1 && !packed.has(tensor.name) && !tensor.name.startsWith("sparq.")) count(kind, elements);
  }
  const parameters = [...kinds.values()].reduce((sum, elements) => sum + elements, 0);
  const main = [...kinds].filter(([, elements]) => elements >= parameters / 50).sort((a, b) => b[1] - a[1]);
  return { parameters, weightBytes, weights: main.map(([kind]) => kind).join(", ") };
}
