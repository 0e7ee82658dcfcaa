import { fusedLinear } from "./linear.ts";
import { headNorm } from "./norm.ts";
import { joinedBias, layerWeights, type Parts } from "./parts.ts";

/** Where q, k or v is: a value [1, T, width], and its first head and the distance between heads in a row. */
interface Heads {
  readonly value: string;
  readonly offset: number;
  readonly stride: number;
}

/**
 * Projections, norms of heads and sparq.PagedAttention with rope inside: input [1, T, hidden] to [1, T, heads * headDim].
 * @param name of the layer's nodes, by their part
 * @param source the layer's prefix in the source
 */
export function attention(
  parts: Parts,
  name: (part: string) => string,
  source: string,
  input: string,
  layer: number,
  frequencies: string,
): string {
  const { heads, kvHeads, headDim, rotaryDim, ropeScale, windows } = parts.config;
  const { q, k, v } = projections(parts, name, source, input);
  return parts.graph.node("PagedAttention", name("attention"), [q.value, k.value, v.value, frequencies], {
    domain: "sparq",
    attributes: {
      layer,
      num_heads: heads,
      num_kv_heads: kvHeads,
      head_dim: headDim,
      rotary_dim: rotaryDim,
      rope_interleaved: 0,
      window: windows?.[layer] ?? 0,
      q_offset: q.offset,
      q_head_stride: q.stride,
      k_offset: k.offset,
      k_head_stride: k.stride,
      v_offset: v.offset,
      v_head_stride: v.stride,
      scale: { float: 1 / Math.sqrt(headDim) },
      rope_scale: { float: ropeScale },
    },
  });
}

function projections(
  parts: Parts,
  name: (part: string) => string,
  source: string,
  input: string,
): Record<"q" | "k" | "v", Heads> {
  const { graph, config, architecture, style } = parts;
  const { heads, kvHeads, headDim, hiddenSize } = config;
  const [qRows, kvRows] = [heads * headDim, kvHeads * headDim];
  const { projections: names } = architecture.names;
  const rows = names.length === 1 ? [qRows + 2 * kvRows] : [qRows, kvRows, kvRows];
  const layers = names.map((part, i) => layerWeights(parts, source, part, rows[i]!, hiddenSize));
  const matrices = layers.map(({ matrix }) => matrix);
  const value = fusedLinear(graph, name("qkv"), input, matrices, style, joinedBias(layers));
  if (architecture.heads === "interleaved") {
    const at = (i: number) => ({ value, offset: i * headDim, stride: 3 * headDim });
    return { q: at(0), k: at(1), v: at(2) };
  }
  const q = { value, offset: 0, stride: headDim };
  const k = { value, offset: qRows, stride: headDim };
  const v = { value, offset: qRows + kvRows, stride: headDim };
  if (!architecture.headNorms) return { q, k, v };
  const [qNorm, kNorm] = architecture.headNorms;
  const normalised = (part: string, weights: string, { offset }: Heads, count: number): Heads => {
    const sliced = columns(parts, name(part), value, offset, offset + count * headDim);
    return {
      value: headNorm(parts, name(`${part}_norm`), `${source}.${weights}`, sliced, count),
      offset: 0,
      stride: headDim,
    };
  };
  return { q: normalised("q", qNorm, q, heads), k: normalised("k", kNorm, k, kvHeads), v };
}

/** Columns `start` to `end` of a value [1, T, width]. */
function columns({ graph }: Parts, name: string, value: string, start: number, end: number): string {
  const bounds = { starts: start, ends: end, axes: 2 };
  const inputs = Object.entries(bounds).map(([which, bound]) => graph.integers(`${name}.${which}`, [bound]));
  return graph.node("Slice", name, [value, ...inputs]);
}
