import { statSync } from "node:fs";
import { join } from "node:path";
import { graphFile, weightsFile } from "../cache.ts";
import { ModelError } from "../errors.ts";
import type { ImportReport, LoadModelOptions, ModelConfig } from "../types.ts";
import { exposeComputedHeads } from "./computed-heads.ts";
import { allTensors } from "./external.ts";
import { Flow } from "./flow.ts";
import { addBiasesBefore } from "./fused-biases.ts";
import { describeNode, Graph, intAttribute } from "./graph.ts";
import { widenHalves } from "./half.ts";
import { keepAllRows } from "./last-row.ts";
import { fuseLinears } from "./linears.ts";
import { findHead } from "./logit-rows.ts";
import { findAttentions } from "./match.ts";
import { takeCacheBranch } from "./merged.ts";
import { sortNodes } from "./order.ts";
import { graphOf, type ModelProto, type NodeProto, readModel, type ValueInfoProto, writeModel } from "./proto.ts";
import { proveAttentions } from "./prove.ts";
import { rewriteGraph } from "./rewrite.ts";
import { type OriginalGraph, type Rounding, selfCheck } from "./self-check.ts";
import { summariseWeights } from "./summary.ts";
import { readShapesFromIds } from "./token-shapes.ts";

export interface ImportOptions extends Pick<LoadModelOptions, "onProgress"> {
  /** The file's contents, where they were read already. */
  readonly model?: ModelProto;
  /** What to compare with, where it is not the file as it is. */
  readonly original?: OriginalGraph;
}

/**
 * Takes a decoder as torch.onnx exports it from Hugging Face transformers, shows that each of its attentions is the one
 * that sparq.PagedAttention computes, and writes the canonical graph into a folder.
 * @param path the .onnx file; weights in external files beside it are read too
 * @throws ModelError for files that are missing or damaged, graphs that are none of this kind, and attentions that
 *   cannot be proven; the message names the node
 */
export async function importOnnx(
  path: string,
  config: ModelConfig,
  folder: string,
  { onProgress = () => {}, model = readModel(path), original = path }: ImportOptions = {},
): Promise<ImportReport> {
  const steps = 6;
  onProgress(0, steps, "reading the graph");
  const sources = new Set([...allTensors(model)].flatMap(({ external }) => external?.file ?? []));
  const originalInputs = inputsOf(model);
  takeCacheBranch(model);
  const nodesBefore = graphOf(model).node.length;
  sortNodes(graphOf(model));
  const rounding = roundingOf(model, widenHalves(model));
  addBiasesBefore(graphOf(model));
  const graph = new Graph(model);
  readShapesFromIds(graph);
  keepAllRows(graph);
  fuseLinears(new Flow(graph));
  const flow = new Flow(graph);
  checkVocabulary(flow, config, path);
  await exposeComputedHeads(flow, config);
  const found = findAttentions(flow);
  if (found.length !== config.layers) {
    throw new ModelError(
      "attention_unproven",
      `${path} has ${found.length} attentions, ${config.file ?? "config.json"} has num_hidden_layers = ${config.layers}`,
    );
  }
  const proof = await proveAttentions(flow, found, config, (done, total) =>
    onProgress(1 + (2 * done) / total, steps, "proving the attentions"),
  );
  const attentions = proof.attentions.map(({ found: { layer, core }, hypothesis, difference }) => {
    const { layout, window, interleaved } = hypothesis;
    const traits = [
      layout.name,
      ...(window > 0 ? [`window of ${window}`] : []),
      ...(interleaved ? ["rope on neighbours"] : []),
      core.opType,
      `proven to ${difference.toExponential(1)}`,
    ];
    return { layer, node: describeNode(core), pattern: traits.join("; ") };
  });
  const { removedInputs, removedOutputs } = rewriteGraph(flow, proof, config);
  onProgress(3, steps, "writing the graph");
  const graphPath = join(folder, graphFile);
  writeModel(graphPath, model, { externalData: { location: weightsFile } });
  onProgress(4, steps, "comparing with the original");
  const difference = await selfCheck(original, originalInputs, graphPath, config, rounding);
  onProgress(steps, steps, "done");
  return {
    format: "onnx",
    files: [path, ...sources].map((file) => ({ path: file, bytes: statSync(file).size })),
    attentions,
    removedInputs,
    removedOutputs,
    nodesBefore,
    nodesAfter: graph.nodes.length,
    ...summariseWeights(graph),
    selfCheck: difference,
  };
}

/** What a caller feeds; older files list their weights as inputs too. */
function inputsOf(model: ModelProto): ValueInfoProto[] {
  const { input, initializer } = graphOf(model);
  const stored = new Set(initializer.map(({ name }) => name));
  return input.filter(({ name }) => !stored.has(name));
}

/** How the graph as it is rounds activations where the prepared one does not. */
function roundingOf(model: ModelProto, narrow: boolean): Rounding {
  const nodes = graphOf(model).node;
  const cached = graphOf(model).input.some(({ name }) => name.startsWith("past_key_values"));
  // Without a cache tokens cannot be run one by one.
  if (nodes.some(({ opType }) => opType === "DynamicQuantizeLinear")) return cached ? "8 bits by run" : "8 bits";
  const int8 = (node: NodeProto) => node.opType === "MatMulNBits" && intAttribute(node, "accuracy_level", 0) === 4;
  // ONNX Runtime makes MatMulNBits with int8 of a product with weights in blocks.
  const blocks = (node: NodeProto) => node.opType === "DequantizeLinear" && intAttribute(node, "block_size", 0) > 0;
  if (nodes.some((node) => int8(node) || blocks(node) || node.opType === "QuantizeLinear")) return "8 bits";
  return narrow ? "narrow" : "none";
}

function checkVocabulary(flow: Flow, config: ModelConfig, path: string): void {
  const [embedding] = flow.embeddings;
  const logits = findHead(flow).projection.width;
  if (embedding && embedding.rows >= config.vocabSize && logits === config.vocabSize) return;
  throw new ModelError(
    "unsupported_config",
    `${config.file ?? "config.json"} has vocab_size = ${config.vocabSize}; ${path} has ${embedding?.rows ?? "no"} token embeddings and ${logits} logits`,
  );
}
