import type { Parts } from "./parts.ts";

/**
 * The norm of `stream`, or of its sum with `addend`, over the last axis, by the architecture's kind.
 * @param weights the norm's name in the source
 */
export function norm(
  parts: Parts,
  name: string,
  weights: string,
  stream: string,
  addend?: string,
): { readonly output: string; readonly sum: string } {
  const { graph, config, architecture } = parts;
  const constants = [gain(parts, name, weights, config.hiddenSize)];
  const isLayerNorm = architecture.norm === "layer";
  if (isLayerNorm) {
    const shift = parts.weights.vector(`${weights}.bias`, config.hiddenSize);
    constants.push(graph.floats(`${name}.bias`, [config.hiddenSize], shift));
  }
  const opType = isLayerNorm ? "LayerNormalization" : "SimplifiedLayerNormalization";
  const epsilon = { float: config.normEps };
  if (addend === undefined) {
    graph.node(opType, name, [stream, ...constants], { attributes: { axis: -1, epsilon } });
    return { output: name, sum: stream };
  }
  const sum = `${name}.sum`;
  graph.multi(`Skip${opType}`, name, [stream, addend, ...constants], [name, "", "", sum], {
    domain: "com.microsoft",
    attributes: { epsilon },
  });
  return { output: name, sum };
}

/** RMS norm of each head: input [1, T, heads * headDim] to the same shape. */
export function headNorm(parts: Parts, name: string, weights: string, input: string, heads: number): string {
  const { graph, config } = parts;
  const { headDim, normEps } = config;
  const split = graph.integers(`${name}.heads.shape`, [1, -1, heads, headDim]);
  const byHead = graph.node("Reshape", `${name}.heads`, [input, split]);
  const weight = gain(parts, name, weights, headDim);
  const normalised = graph.node("SimplifiedLayerNormalization", `${name}.normalised`, [byHead, weight], {
    attributes: { axis: -1, epsilon: { float: normEps } },
  });
  const joined = graph.integers(`${name}.shape`, [1, -1, heads * headDim]);
  return graph.node("Reshape", name, [normalised, joined]);
}

function gain({ graph, architecture, weights }: Parts, name: string, source: string, size: number): string {
  const stored = weights.vector(`${source}.weight`, size);
  const values = architecture.norm === "rms1" ? stored.map((value) => 1 + value) : stored;
  return graph.floats(`${name}.weight`, [size], values);
}
