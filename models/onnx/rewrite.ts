import { FORMAT_VERSION } from "../cache.ts";
import { ModelError } from "../errors.ts";
import type { ModelConfig } from "../types.ts";
import { makeNode, makeValueInfo } from "./build.ts";
import type { Flow } from "./flow.ts";
import { describeNode, type Graph } from "./graph.ts";
import { isHeadNorm, type Operand } from "./head-norm.ts";
import { rowGatherPoint } from "./logit-rows.ts";
import { DataType, type NodeProto, OperatorSetIdMessage } from "./messages.ts";
import type { Proof, ProvenAttention } from "./prove.ts";
import { floatTensor, int64Tensor } from "./tensor.ts";

export interface RewriteResult {
  readonly removedInputs: readonly string[];
  readonly removedOutputs: readonly string[];
}

/**
 * Turns the graph into the canonical one: every proven attention becomes sparq.PagedAttention, inputs are input_ids
 * [1, T] and logit_rows [R], the output is logits [1, R, vocab], and what only served masks, positions and caches is gone.
 * @throws ModelError "unsupported_graph" when something left still reads a removed input, or logits cannot be found
 */
export function rewriteGraph(flow: Flow, proof: Proof, config: ModelConfig): RewriteResult {
  const { graph } = flow;
  const gather = rowGatherPoint(flow);
  const frequencies = graph.freshName("sparq.inverse_frequencies");
  graph.addInitializer(
    floatTensor(frequencies, [proof.inverseFrequencies.length], Float32Array.from(proof.inverseFrequencies)),
  );
  for (const attention of proof.attentions) replaceAttention(graph, attention, frequencies, config);

  const rows = graph.freshName("logit_rows");
  if (rows !== "logit_rows")
    throw new ModelError("unsupported_graph", 'the graph has a tensor "logit_rows" of its own');
  const gathered = graph.freshName("sparq.logit_hidden");
  const [place] = graph.consumers(gather.tensor);
  const readers = graph.consumers(gather.tensor);
  graph.insertBefore(place!, makeNode("Gather", [gather.tensor, rows], [gathered], { axis: gather.axis }));
  graph.replaceUses(gather.tensor, gathered, readers);

  const ids = idsAsInt64(graph, flow.inputs.ids.name, flow.inputs.ids.type!.tensorType!.elemType);
  const removedInputs = graph.inputs.filter((name) => name !== ids);
  const removedOutputs = graph.proto.output.map(({ name }) => name).filter((name) => name !== "logits");
  graph.proto.input = [
    makeValueInfo(ids, DataType.INT64, [1, "tokens"]),
    makeValueInfo(rows, DataType.INT64, ["rows"]),
  ];
  graph.proto.output = [makeValueInfo("logits", DataType.FLOAT, [1, "rows", config.vocabSize])];
  graph.removeDead();
  refuseLeftovers(graph, new Set(removedInputs));

  const { model } = graph;
  model.opsetImport.push(OperatorSetIdMessage.create({ domain: "sparq", version: 1 }));
  model.metadataProps.push({ key: "sparq.format_version", value: String(FORMAT_VERSION) });
  return { removedInputs, removedOutputs };
}

function replaceAttention(graph: Graph, proven: ProvenAttention, frequencies: string, config: ModelConfig): void {
  const { found, hypothesis, contextRank } = proven;
  const { layout, window, interleaved, scale } = hypothesis;
  const output = graph.freshName(`sparq.context.${found.layer}`);
  const nodes: NodeProto[] = [];
  const operand = (from: Operand, heads: number): string => {
    if (!isHeadNorm(from)) return from.tensor;
    const rows = graph.freshName(`${from.tensor}.rows`);
    nodes.push(rowsOf(graph, from.tensor, rows, [1, -1, heads * config.headDim]));
    return rows;
  };
  const attention = makeNode(
    "PagedAttention",
    [
      operand(found.query, config.heads),
      operand(found.key, config.kvHeads),
      operand(found.value, config.kvHeads),
      frequencies,
    ],
    [output],
    {
      layer: found.layer,
      num_heads: config.heads,
      num_kv_heads: config.kvHeads,
      head_dim: config.headDim,
      rotary_dim: config.rotaryDim,
      rope_interleaved: interleaved ? 1 : 0,
      window,
      q_offset: layout.query.offset,
      q_head_stride: layout.query.headStride,
      k_offset: layout.key.offset,
      k_head_stride: layout.key.headStride,
      v_offset: layout.value.offset,
      v_head_stride: layout.value.headStride,
      scale: { float: scale },
      rope_scale: { float: config.ropeScale },
    },
    { domain: "sparq", name: `sparq.attention.${found.layer}` },
  );
  nodes.push(attention);
  let context = output;
  // The operator keeps its query's leading dimensions; the output projection may have been given others.
  const rank = isHeadNorm(found.query) ? 3 : found.query.rank;
  if (contextRank !== rank) {
    context = graph.freshName(`${output}.reshaped`);
    const width = config.heads * config.headDim;
    nodes.push(rowsOf(graph, output, context, contextRank === 2 ? [-1, width] : [1, -1, width]));
  }
  const readers = graph.consumers(found.context);
  graph.insertBefore(found.outputProjection, ...nodes);
  graph.replaceUses(found.context, context, readers);
}

/** A Reshape to constant dimensions. */
function rowsOf(graph: Graph, from: string, to: string, dims: readonly number[]): NodeProto {
  const shape = graph.freshName(`${to}.shape`);
  graph.addInitializer(int64Tensor(shape, [dims.length], dims));
  return makeNode("Reshape", [from, shape], [to]);
}

/** The canonical graph's ids are int64; exports with int32 get a Cast. */
function idsAsInt64(graph: Graph, ids: string, elemType: number): string {
  if (elemType === DataType.INT64) return ids;
  const cast = graph.freshName("sparq.input_ids");
  const readers = graph.consumers(ids);
  graph.insertBefore(graph.nodes[0]!, makeNode("Cast", [ids], [cast], { to: elemType }));
  graph.replaceUses(ids, cast, readers);
  return ids;
}

function refuseLeftovers(graph: Graph, removed: ReadonlySet<string>): void {
  for (const node of graph.nodes) {
    const input = node.input.find((name) => removed.has(name));
    if (input !== undefined) {
      throw new ModelError(
        "unsupported_graph",
        `${describeNode(node)} reads the input "${input}" outside of the attentions, so it cannot be removed`,
      );
    }
  }
}
