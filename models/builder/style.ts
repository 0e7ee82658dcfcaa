import { ModelError } from "../errors.ts";

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
