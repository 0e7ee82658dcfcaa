import { openDecoder } from "../attention/onnx/session.ts";
import { described } from "../attention/onnx/signature.ts";
import { BLOCK_SIZE } from "../attention/session.ts";
import { locateAsIs } from "./as-is.ts";
import type { LoadModelOptions } from "./types.ts";

/** What `sparq inspect --attention=onnx` tells: of a model whose graph runs as it is. */
export interface AsIsInspection {
  readonly name: string;
  readonly source: string;
  readonly format: "onnx";
  readonly attention: "onnx";
  readonly architecture: string;
  /** Whether the architecture is one that this version knows. */
  readonly known: boolean;
  readonly contextLength: number;
  readonly vocabSize: number;
  readonly bosTokenId: number | null;
  readonly eosTokenIds: readonly number[];
  readonly chatTemplate: boolean;
  /** Of the .onnx file alone. */
  readonly bytes: number;
  /** As ONNX Runtime tells them: name, type, shape. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly cache: {
    /** Inputs for cached keys or values; 0: every token runs the whole text. */
    readonly inputs: number;
    readonly dtypes: readonly string[];
    /** Those of a token, and the same again for sequences that run. */
    readonly bytesPerToken: number;
  };
}

/** Opens a model, tries it as serving it would, and describes it. Throws what serving would throw. */
export async function inspectAsIs(nameOrPath: string, options: LoadModelOptions = {}): Promise<AsIsInspection> {
  const { name, source, bytes, config, tokenizer } = locateAsIs(nameOrPath, options);
  const decoder = await openDecoder(source, { ...config, certain: config.known });
  const { slots, vocabSize } = decoder.signature;
  const session = await decoder.begin({ blocks: 1, blockSize: BLOCK_SIZE });
  session.close();
  return {
    name,
    source,
    format: "onnx",
    attention: "onnx",
    architecture: config.modelType,
    known: config.known,
    contextLength: config.maxPositions,
    vocabSize,
    bosTokenId: config.bosTokenId ?? null,
    eosTokenIds: config.eosTokenIds,
    chatTemplate: tokenizer.chatTemplate !== undefined,
    bytes,
    inputs: decoder.inputs.map(described),
    outputs: decoder.outputs.map(described),
    cache: {
      inputs: slots.length,
      dtypes: [...new Set(slots.map(({ type }) => type))],
      bytesPerToken: slots.length === 0 ? 0 : decoder.bytesPerBlock(BLOCK_SIZE) / BLOCK_SIZE,
    },
  };
}

/** The description as text for people, without a final newline. */
export function formatAsIs(inspection: AsIsInspection): string {
  const { cache, eosTokenIds, bosTokenId } = inspection;
  const whole = "none: every token runs the whole text again";
  const rows: [string, string][] = [
    ["source", inspection.source],
    ["attention", "onnx: the graph's own, dense, run by ONNX Runtime as it is"],
    ["architecture", `${inspection.architecture}${inspection.known ? "" : ", not one that sparq knows"}`],
    ["template", inspection.chatTemplate ? "chat template" : "no chat template"],
    ["context", `${inspection.contextLength} tokens`],
    ["vocabulary", `${inspection.vocabSize}, begin ${bosTokenId ?? "none"}, end ${eosTokenIds.join(" ") || "none"}`],
    [
      "cache",
      cache.inputs === 0
        ? whole
        : `${cache.bytesPerToken} bytes a token (${cache.dtypes.join(" and ")}, twice for sequences that run)`,
    ],
  ];
  return [
    inspection.name,
    ...rows.map(([label, text]) => `  ${label.padEnd(13)}${text}`),
    "inputs",
    ...inspection.inputs.map((input) => `  ${input}`),
    "outputs",
    ...inspection.outputs.map((output) => `  ${output}`),
  ].join("\n");
}
