import type { ModelConfig } from "../types.ts";
import { embedding } from "./embedding.ts";
import type { GraphWriter } from "./graph-writer.ts";
import { fusedLinear, type LinearStyle, linear } from "./linear.ts";
import type { WeightSource } from "./weights.ts";

/** What a decoder is written with. */
interface Parts {
  readonly graph: GraphWriter;
  readonly config: ModelConfig;
  readonly weights: WeightSource;
  readonly style: LinearStyle;
}

/**
 * Writes a Llama decoder as a canonical graph: RMSNorm, grouped-query attention with rope in sparq.PagedAttention, SwiGLU;
 * q, k and v are one product, gate and up another, and between layers a sparq.Relay, where rows may stop and go on in another
 * step. Values are [1, T, width]; only the rows that `logit_rows` names reach the output layer.
 * @param onLayer called before each layer, and before the output layer
 * @returns the name of each layer's attention node
 */
export function buildLlama(parts: Parts, onLayer: (layer: number) => void = () => {}): string[] {
  const { graph, config, weights, style } = parts;
  const { hiddenSize, vocabSize } = config;
  const frequencies = graph.floats("inverse_frequencies", [config.rotaryDim / 2], config.inverseFrequencies);
  const table = weights.matrix("model.embed_tokens.weight", vocabSize, hiddenSize);
  const { output, tiedHead } = embedding(graph, "embedding", "input_ids", table, style);
  const stream = new Residual(parts, output);
  const attentions: string[] = [];

  for (let layer = 0; layer < config.layers; layer++) {
    onLayer(layer);
    const source = `model.layers.${layer}`;
    const name = (part: string) => `layers.${layer}.${part}`;
    if (layer > 0) stream.relay(name("relay"), layer);
    const attentionInput = stream.normalised(name("attention_norm"), `${source}.input_layernorm.weight`);
    const qkv = attentionProjections(parts, name("qkv"), attentionInput, `${source}.self_attn`);
    const context = pagedAttention(parts, name("attention"), qkv, layer, frequencies);
    const contextSize = config.heads * config.headDim;
    stream.add(projection(parts, name("output"), context, `${source}.self_attn.o_proj`, contextSize));

    const feedInput = stream.normalised(name("feed_norm"), `${source}.post_attention_layernorm.weight`);
    const gateAndUp = ["gate_proj", "up_proj"].map((part) =>
      weights.matrix(`${source}.mlp.${part}.weight`, config.intermediateSize, hiddenSize),
    );
    const gateUp = fusedLinear(graph, name("gate_up"), feedInput, gateAndUp, style);
    const active = graph.node("SwiGLU", name("swiglu"), [gateUp], { domain: "sparq" });
    stream.add(projection(parts, name("down"), active, `${source}.mlp.down_proj`, config.intermediateSize));
    attentions.push(name("attention"));
  }

  onLayer(config.layers);
  stream.gather("logit_rows");
  const final = stream.normalised("final_norm", "model.norm.weight");
  if (config.tiedHead) tiedHead("logits", final);
  else linear(graph, "logits", final, weights.matrix("lm_head.weight", vocabSize, hiddenSize), style);
  return attentions;
}

/** The stream that layers read and add to. An addition waits for the next norm: the two are one operator. */
class Residual {
  readonly #parts: Parts;
  #sum: string;
  #pending: string | undefined;

  constructor(parts: Parts, start: string) {
    this.#parts = parts;
    this.#sum = start;
  }

  add(value: string): void {
    this.#pending = value;
  }

  /** Makes the pending addition, where rows may stop before a layer or go on with it. */
  relay(name: string, layer: number): void {
    const { graph, config } = this.#parts;
    this.#sum = graph.node("Relay", name, [this.#sum, this.#pending!], {
      domain: "sparq",
      attributes: { layer, hidden_size: config.hiddenSize },
    });
    this.#pending = undefined;
  }

  /** Keeps only the rows that the graph's input `rows` names. */
  gather(rows: string): void {
    const gathered = (value: string, name: string) =>
      this.#parts.graph.node("Gather", name, [value, rows], { attributes: { axis: 1 } });
    this.#sum = gathered(this.#sum, "logit_residual");
    if (this.#pending !== undefined) this.#pending = gathered(this.#pending, "logit_pending");
  }

  /** The stream's RMS norm. */
  normalised(name: string, weightName: string): string {
    const { graph, config, weights } = this.#parts;
    const { hiddenSize } = config;
    const weight = graph.floats(`${name}.weight`, [hiddenSize], weights.vector(weightName, hiddenSize));
    const epsilon = { float: config.normEps };
    if (this.#pending === undefined) {
      return graph.node("SimplifiedLayerNormalization", name, [this.#sum, weight], {
        attributes: { axis: -1, epsilon },
      });
    }
    const sum = `${name}.sum`;
    graph.multi("SkipSimplifiedLayerNormalization", name, [this.#sum, this.#pending, weight], [name, "", "", sum], {
      domain: "com.microsoft",
      attributes: { epsilon },
    });
    this.#sum = sum;
    this.#pending = undefined;
    return name;
  }
}

/** q, k and v side by side. */
function attentionProjections(parts: Parts, name: string, input: string, source: string): string {
  const { graph, config, weights, style } = parts;
  const headCounts = { q_proj: config.heads, k_proj: config.kvHeads, v_proj: config.kvHeads };
  const projections = Object.entries(headCounts).map(([part, heads]) => ({ part, rows: heads * config.headDim }));
  const matrices = projections.map(({ part, rows }) =>
    weights.matrix(`${source}.${part}.weight`, rows, config.hiddenSize),
  );
  const biases = projections.map(({ part, rows }) => {
    const bias = `${source}.${part}.bias`;
    return weights.has(bias) ? weights.vector(bias, rows) : undefined;
  });
  if (biases.every((bias) => bias === undefined)) return fusedLinear(graph, name, input, matrices, style);
  const values = projections.flatMap(({ rows }, i) => Array.from(biases[i] ?? new Float32Array(rows)));
  return fusedLinear(graph, name, input, matrices, style, Float32Array.from(values));
}

/** A linear layer back to the stream's width, with its bias if it has one. */
function projection(parts: Parts, name: string, input: string, source: string, columns: number): string {
  const { graph, config, weights, style } = parts;
  const rows = config.hiddenSize;
  const matrix = weights.matrix(`${source}.weight`, rows, columns);
  const bias = `${source}.bias`;
  return linear(graph, name, input, matrix, style, weights.has(bias) ? weights.vector(bias, rows) : undefined);
}

function pagedAttention(parts: Parts, name: string, qkv: string, layer: number, frequencies: string): string {
  const { heads, kvHeads, headDim, rotaryDim, ropeScale } = parts.config;
  return parts.graph.node("PagedAttention", name, [qkv, qkv, qkv, frequencies], {
    domain: "sparq",
    attributes: {
      layer,
      num_heads: heads,
      num_kv_heads: kvHeads,
      head_dim: headDim,
      rotary_dim: rotaryDim,
      rope_interleaved: 0,
      window: 0,
      q_offset: 0,
      q_head_stride: headDim,
      k_offset: heads * headDim,
      k_head_stride: headDim,
      v_offset: (heads + kvHeads) * headDim,
      v_head_stride: headDim,
      scale: { float: 1 / Math.sqrt(headDim) },
      rope_scale: { float: ropeScale },
    },
  });
}
