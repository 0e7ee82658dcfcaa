import type { Activation } from "../architectures/types.ts";
import { fusedLinear } from "./linear.ts";
import { joinedBias, layerWeights, type Parts } from "./parts.ts";

/** What is between a feed-forward's two linears: [1, T, hidden] to [1, T, intermediate]. */
export function widened(parts: Parts, name: (part: string) => string, source: string, input: string): string {
  const { graph, config, architecture, style } = parts;
  const { intermediateSize, hiddenSize, activation = "silu" } = config;
  const names = architecture.names.widen;
  const rows = architecture.gated && names.length === 1 ? 2 * intermediateSize : intermediateSize;
  const layers = names.map((part) => layerWeights(parts, source, part, rows, hiddenSize));
  const matrices = layers.map(({ matrix }) => matrix);
  const wide = fusedLinear(graph, name("gate_up"), input, matrices, style, joinedBias(layers));
  if (!architecture.gated) return activate(parts, name("active"), wide, activation);
  if (activation === "silu") return graph.node("SwiGLU", name("swiglu"), [wide], { domain: "sparq" });
  const [gate, up] = [name("gate"), name("up")];
  graph.multi("Split", name("split"), [wide], [gate, up], { attributes: { axis: -1 } });
  return graph.node("Mul", name("gated"), [activate(parts, name("active"), gate, activation), up]);
}

function activate({ graph }: Parts, name: string, input: string, activation: Activation): string {
  if (activation === "silu") throw new TypeError("silu without a gate is in no architecture");
  return graph.node(activation === "gelu" ? "Gelu" : "FastGelu", name, [input], { domain: "com.microsoft" });
}
