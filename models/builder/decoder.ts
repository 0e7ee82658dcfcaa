import { attention } from "./attention.ts";
import { embedding } from "./embedding.ts";
import { widened } from "./feed-forward.ts";
import { linear } from "./linear.ts";
import { layerWeights, type Parts } from "./parts.ts";
import { Residual } from "./residual.ts";

/**
 * Writes a decoder as a canonical graph: norm, attention and feed-forward as the architecture has them; q, k and v are one
 * product, gate and up another, and between layers a sparq.Relay, where rows may stop and go on in another step. Values are
 * [1, T, width]; only the rows that `logit_rows` names reach the output layer.
 * @param onLayer called, and waited for, before each layer and before the output layer
 * @returns the name of each layer's attention node
 */
export async function buildDecoder(parts: Parts, onLayer: (layer: number) => Promise<void>): Promise<string[]> {
  const { graph, config, architecture, weights, style } = parts;
  const { hiddenSize, vocabSize } = config;
  const { names } = architecture;
  const frequencies = graph.floats("inverse_frequencies", [config.rotaryDim / 2], config.inverseFrequencies);
  const table = weights.matrix(`${names.embedding}.weight`, vocabSize, hiddenSize);
  const { output, tiedHead } = embedding(graph, "embedding", "input_ids", table, style);
  const stream = new Residual(parts, scaled(parts, output));
  const attentions: string[] = [];

  for (let layer = 0; layer < config.layers; layer++) {
    await onLayer(layer);
    const source = `${names.layers}.${layer}`;
    const name = (part: string) => `layers.${layer}.${part}`;
    if (layer > 0) stream.relay(name("relay"), layer);
    const attentionInput = stream.normalised(name("attention_norm"), `${source}.${names.attentionNorm}`);
    const context = attention(parts, name, source, attentionInput, layer, frequencies);
    const attended = narrowed(parts, name("output"), source, names.output, context, config.heads * config.headDim);
    // In parallel, the feed-forward reads what attention has read.
    if (!config.parallelResidual) stream.add(attended);
    const feedInput = stream.normalised(name("feed_norm"), `${source}.${names.feedNorm}`);
    const wide = widened(parts, name, source, feedInput);
    const fed = narrowed(parts, name("down"), source, names.narrow, wide, config.intermediateSize);
    stream.add(config.parallelResidual ? graph.node("Add", name("parallel"), [fed, attended]) : fed);
    attentions.push(name("attention"));
  }

  await onLayer(config.layers);
  stream.gather("logit_rows");
  const final = stream.normalised("final_norm", names.finalNorm);
  if (config.tiedHead) tiedHead("logits", final);
  else linear(graph, "logits", final, weights.matrix(`${names.head}.weight`, vocabSize, hiddenSize), style);
  return attentions;
}

function scaled({ graph, config, architecture }: Parts, embedded: string): string {
  const scale = architecture.embeddingScale?.(config.hiddenSize);
  if (scale === undefined) return embedded;
  const factor = graph.floats("embedding_scale.factor", [1], Float32Array.of(scale));
  return graph.node("Mul", "embedding_scale", [embedded, factor]);
}

/** A linear layer back to the stream's width. */
function narrowed(parts: Parts, name: string, source: string, weights: string, input: string, columns: number): string {
  const { matrix, bias } = layerWeights(parts, source, weights, parts.config.hiddenSize, columns);
  return linear(parts.graph, name, input, matrix, parts.style, bias);
}
