import { closeSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { architectureOf } from "../architectures/index.ts";
import { FORMAT_VERSION, graphFile, weightsFile } from "../cache.ts";
import { DataType, encodeModel, makeModel, makeValueInfo } from "../onnx/proto.ts";
import type { ImportReport, LoadModelOptions, ModelConfig } from "../types.ts";
import { buildDecoder } from "./decoder.ts";
import { GraphWriter } from "./graph-writer.ts";
import type { LinearStyle } from "./style.ts";
import type { WeightSource } from "./weights.ts";

const OPSETS = { "": 17, "com.microsoft": 1, sparq: 1 };

export type BuildReport = Pick<ImportReport, "attentions" | "nodesAfter" | "weightBytes">;

/**
 * Builds the canonical graph of a decoder from its weights: `graphFile` and `weightsFile` in the empty `folder`. Reads a
 * layer's matrices at a time. Throws ModelError for weights that are missing or do not fit the configuration.
 */
export async function buildGraph(
  folder: string,
  config: ModelConfig,
  weights: WeightSource,
  style: LinearStyle,
  onProgress: LoadModelOptions["onProgress"] = () => {},
): Promise<BuildReport> {
  // Gigabytes take minutes: whoever asks how far it is gets an answer between two layers.
  const pause = () => new Promise<void>((resume) => setImmediate(resume));
  const descriptor = openSync(join(folder, weightsFile), "wx");
  try {
    const graph = new GraphWriter(descriptor, weightsFile);
    const report = async (layer: number) => {
      onProgress(layer, config.layers + 1, "converting weights");
      await pause();
    };
    const architecture = architectureOf(config);
    const attentions = await buildDecoder({ graph, config, architecture, weights, style }, report);
    const model = makeModel({
      name: config.modelType,
      nodes: graph.nodes,
      initializers: graph.initializers,
      inputs: [
        makeValueInfo("input_ids", DataType.INT64, [1, "tokens"]),
        makeValueInfo("logit_rows", DataType.INT64, ["rows"]),
      ],
      outputs: [makeValueInfo("logits", DataType.FLOAT, [1, "rows", config.vocabSize])],
      opsets: OPSETS,
      metadata: { "sparq.format_version": String(FORMAT_VERSION) },
    });
    writeFileSync(join(folder, graphFile), encodeModel(model));
    await report(config.layers + 1);
    return {
      attentions: attentions.map((node, layer) => ({ layer, node, pattern: "built from weights" })),
      nodesAfter: graph.nodes.length,
      weightBytes: graph.weightBytes,
    };
  } finally {
    closeSync(descriptor);
  }
}
