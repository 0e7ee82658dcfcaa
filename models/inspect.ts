import { defaultCache } from "../attention/defaults.ts";
import { BLOCK_SIZE, bytesPerBlock } from "../attention/session.ts";
import { loadModel } from "./load.ts";
import type { ImportReport, LoadModelOptions, ModelConfig, PreparedModel } from "./types.ts";

const dtypeBytes = { f32: 4, f16: 2, bf16: 2, int8: 1, fp8: 1 } as const;

/** Everything that `sparq inspect` tells, as plain data. */
export interface Inspection {
  readonly name: string;
  readonly source: string;
  readonly format: ImportReport["format"];
  readonly architecture: ModelConfig["modelType"];
  readonly parameters: number;
  readonly contextLength: number;
  readonly layers: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly vocabSize: number;
  readonly rotaryDim: number;
  readonly tiedHead: boolean;
  readonly parallelResidual: boolean;
  readonly bosTokenId: number | null;
  readonly eosTokenIds: readonly number[];
  readonly chatTemplate: boolean;
  readonly weights: { readonly kind: string; readonly bytes: number };
  readonly cacheBytesPerToken: {
    /** As stored: keys twice, values once, in f32, and the sum of values of each block. */
    readonly stored: number;
    /** What keys and values alone would take in f32. */
    readonly dense: number;
  };
  readonly graph: {
    readonly path: string;
    readonly fromCache: boolean;
    readonly nodesBefore: number;
    readonly nodesAfter: number;
    readonly attentions: ImportReport["attentions"];
    readonly removedInputs: readonly string[];
    readonly removedOutputs: readonly string[];
    /** Largest |difference| of logits to the original graph; null if they were not compared. */
    readonly selfCheck: number | null;
  };
  readonly files: ImportReport["files"];
}

/** Prepares a model if that was not done yet, and describes it. Throws what `loadModel` throws. */
export async function inspectModel(nameOrPath: string, options: LoadModelOptions = {}): Promise<Inspection> {
  return describeModel(await loadModel(nameOrPath, options));
}

/** The description of a model that is loaded already. */
export function describeModel({ config, report, tokenizer, ...model }: PreparedModel): Inspection {
  return {
    name: model.name,
    source: model.source,
    format: report.format,
    architecture: config.modelType,
    parameters: report.parameters,
    contextLength: config.maxPositions,
    layers: config.layers,
    hiddenSize: config.hiddenSize,
    intermediateSize: config.intermediateSize,
    heads: config.heads,
    kvHeads: config.kvHeads,
    headDim: config.headDim,
    vocabSize: config.vocabSize,
    rotaryDim: config.rotaryDim,
    tiedHead: config.tiedHead,
    parallelResidual: config.parallelResidual,
    bosTokenId: config.bosTokenId ?? null,
    eosTokenIds: config.eosTokenIds,
    chatTemplate: tokenizer.chatTemplate !== undefined,
    weights: { kind: report.weights, bytes: report.weightBytes },
    cacheBytesPerToken: {
      stored: bytesPerBlock(config, defaultCache) / BLOCK_SIZE,
      dense: config.layers * config.kvHeads * config.headDim * 2 * dtypeBytes[defaultCache.dtype],
    },
    graph: {
      path: model.graphPath,
      fromCache: model.cached,
      nodesBefore: report.nodesBefore,
      nodesAfter: report.nodesAfter,
      attentions: report.attentions,
      removedInputs: report.removedInputs,
      removedOutputs: report.removedOutputs,
      selfCheck: report.selfCheck,
    },
    files: report.files,
  };
}

/** The description as text for people, without a final newline. */
export function formatInspection(inspection: Inspection): string {
  const { graph, cacheBytesPerToken: cache, weights } = inspection;
  const heads = `${inspection.heads} heads of ${inspection.headDim}`;
  const groups = inspection.kvHeads === inspection.heads ? heads : `${heads}, ${inspection.kvHeads} KV heads`;
  const rope =
    inspection.rotaryDim === inspection.headDim ? "whole heads" : `${inspection.rotaryDim} of a head's components`;
  const traits = [
    inspection.tiedHead ? "tied embeddings" : "own output matrix",
    ...(inspection.parallelResidual ? ["parallel residual"] : []),
    inspection.chatTemplate ? "chat template" : "no chat template",
  ];
  const rows: [string, string][] = [
    ["source", inspection.source],
    ["architecture", `${inspection.architecture}, ${traits.join(", ")}`],
    ["parameters", `${count(inspection.parameters)}, stored as ${weights.kind}: ${bytes(weights.bytes)}`],
    ["context", `${count(inspection.contextLength)} tokens, rope on ${rope}`],
    [
      "layers",
      `${inspection.layers} of hidden size ${inspection.hiddenSize}, feed-forward ${inspection.intermediateSize}`,
    ],
    ["attention", groups],
    [
      "vocabulary",
      `${count(inspection.vocabSize)}, begin ${inspection.bosTokenId ?? "none"}, end ${inspection.eosTokenIds.join(" ") || "none"}`,
    ],
    [
      "cache",
      `${bytes(cache.stored)} a token (keys and values in ${defaultCache.dtype}, keys to scan in ${defaultCache.scanDtype}, sums), keys and values alone ${bytes(cache.dense)}`,
    ],
    ["graph", `${graph.path} (${graph.fromCache ? "kept from before" : "made now"})`],
    ...(inspection.format === "onnx" ? importRows(graph) : []),
  ];
  const attentions = graph.attentions.map(({ layer, node, pattern }) => `  ${layer}  ${node}: ${pattern}`);
  const files = inspection.files.map((file) => `  ${file.path}  ${bytes(file.bytes)}`);
  return [
    inspection.name,
    ...rows.map(([label, text]) => `  ${label.padEnd(13)}${text}`),
    inspection.format === "onnx" ? "attentions replaced" : "attentions",
    ...attentions,
    "files",
    ...files,
  ].join("\n");
}

/** What became of an existing graph; one that was built has no history. */
function importRows(graph: Inspection["graph"]): [string, string][] {
  const removed = new Set([...graph.removedInputs, ...graph.removedOutputs].map(series));
  return [
    ["nodes", `${graph.nodesBefore} before, ${graph.nodesAfter} now`],
    ["removed", [...removed].join(", ") || "nothing"],
    [
      "self-check",
      graph.selfCheck === null ? "not run" : `logits differ by at most ${graph.selfCheck.toExponential(1)}`,
    ],
  ];
}

/** past_key_values.7.key, one of many, as past_key_values.*.key. */
function series(name: string): string {
  return name.replace(/\.\d+(?=\.|$)/g, ".*");
}

function count(value: number): string {
  return value.toLocaleString("en-US");
}

function bytes(value: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB"];
  let unit = 0;
  let size = value;
  for (; size >= 1024 && unit < units.length - 1; unit++) size /= 1024;
  return unit === 0 ? `${Math.round(size)} ${units[0]}` : `${size.toFixed(1)} ${units[unit]}`;
}
