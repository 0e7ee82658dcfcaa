import { ModelError } from "../errors.ts";
import { denseLinear, storeDense } from "./dense.ts";
import type { GraphWriter } from "./graph-writer.ts";
import { blockLinear, storeBlocks } from "./matmulnbits.ts";
import { qlinear, storePacked } from "./qlinear.ts";
import { stackRows, type WeightMatrix } from "./weights.ts";

/**
 * What multiplies quantised weights. "qlinear": sparq.QLinear, which reads them where they lie in the file at the memory's
 * speed. "matmulnbits": ONNX Runtime's MatMulNBits, which keeps a rearranged copy.
 */
export type Linears = "qlinear" | "matmulnbits";
export const linearKinds: readonly Linears[] = ["qlinear", "matmulnbits"];

/**
 * How the inputs of quantised linears are rounded. "int8x2": each value to two int8, about 16 bits, which keeps the logits
 * of the dequantised model to about 1e-3. "int8": to one int8, up to twice as fast with many rows, at a loss. README.md
 * beside this file has the measurements.
 */
export type Activations = "int8x2" | "int8";
export const activationKinds: readonly Activations[] = ["int8x2", "int8"];

/** Where plain floats are read: in the model's own files, or in a copy beside the graph. */
export type DenseWeights = "mapped" | "copied";
export const denseWeightsKinds: readonly DenseWeights[] = ["mapped", "copied"];

/** How linears are written. */
export interface LinearStyle {
  /** Of quantised weights, as is the next. */
  readonly linears: Linears;
  readonly activations: Activations;
  /** Of plain floats. */
  readonly weights: DenseWeights;
}

/** The style that options name, or else the variables SPARQ_LINEARS, SPARQ_ACTIVATIONS and SPARQ_WEIGHTS, or else the first of each. */
export function linearStyle(options: Partial<LinearStyle>): LinearStyle {
  return {
    linears: options.linears ?? fromEnvironment("SPARQ_LINEARS", linearKinds),
    activations: options.activations ?? fromEnvironment("SPARQ_ACTIVATIONS", activationKinds),
    weights: options.weights ?? fromEnvironment("SPARQ_WEIGHTS", denseWeightsKinds),
  };
}

/** What tells the graph of a style from the default one's. */
export function styleSuffixes({ linears, activations, weights }: LinearStyle): string[] {
  const usual: readonly string[] = [linearKinds[0]!, activationKinds[0]!, denseWeightsKinds[0]!];
  return [linears, activations, weights].filter((kind) => !usual.includes(kind));
}

/** The kind that a variable names; the first, unless it is set. */
function fromEnvironment<Kind extends string>(variable: string, kinds: readonly Kind[]): Kind {
  const value = process.env[variable] || kinds[0];
  const kind = kinds.find((known) => known === value);
  if (kind) return kind;
  throw new ModelError("unsupported_config", `${variable} is "${value}"; supported: ${kinds.join(", ")}`);
}

/**
 * Linear layers over one input [1, T, columns], their outputs side by side: one matrix product when they are stored alike.
 * Returns the name of the output [1, T, sum of rows].
 */
export function fusedLinear(
  graph: GraphWriter,
  name: string,
  input: string,
  matrices: readonly WeightMatrix[],
  style: LinearStyle,
  bias?: Float32Array,
): string {
  const stacked = stackRows(matrices);
  if (stacked) return linear(graph, name, input, stacked, style, bias);
  let start = 0;
  const parts = matrices.map((matrix, i) => {
    const part = bias?.subarray(start, start + matrix.rows);
    start += matrix.rows;
    return linear(graph, `${name}.${i}`, input, matrix, style, part);
  });
  return graph.node("Concat", name, parts, { attributes: { axis: -1 } });
}

/** One linear layer: input [1, T, columns] to [1, T, rows]. */
export function linear(
  graph: GraphWriter,
  name: string,
  input: string,
  matrix: WeightMatrix,
  style: LinearStyle,
  bias?: Float32Array,
): string {
  const biasName = bias && graph.floats(`${name}.bias`, [bias.length], bias);
  if (matrix.kind === "blocks" && style.linears === "qlinear") {
    const stored = storePacked(graph, `${name}.weight`, matrix);
    return qlinear(graph, name, input, stored, planesOf(style), biasName);
  }
  if (matrix.kind === "dense") {
    return denseLinear(graph, name, input, storeDense(graph, `${name}.weight`, matrix, style), biasName);
  }
  const product = biasName === undefined ? name : `${name}.product`;
  blockLinear(graph, product, input, storeBlocks(graph, product, matrix), style.activations);
  return biasName === undefined ? product : graph.node("Add", name, [product, biasName]);
}

export function planesOf({ activations }: LinearStyle): 1 | 2 {
  return activations === "int8x2" ? 2 : 1;
}
