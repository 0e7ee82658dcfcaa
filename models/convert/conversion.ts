import type { LinearStyle } from "../builder/style.ts";
import { buildGgufGraph } from "../gguf/build.ts";
import { openGguf } from "../gguf/reader.ts";
import { buildCheckpointGraph } from "../safetensors/build.ts";
import { openCheckpoint } from "../safetensors/checkpoint.ts";
import { type Quantisation, type Quantiser, quantise } from "../safetensors/quantise.ts";
import type { ImportReport, LoadModelOptions, ModelConfig } from "../types.ts";

/** A graph to be made of a model's files: plain data, which another thread can be told. */
export interface Conversion {
  readonly format: "safetensors" | "gguf";
  /** The checkpoint's folder or file, or the GGUF. */
  readonly path: string;
  readonly config: ModelConfig;
  /** Empty; the graph and its weights go there. */
  readonly folder: string;
  readonly style: LinearStyle;
  readonly quantize?: Quantisation | undefined;
}

export type OnProgress = NonNullable<LoadModelOptions["onProgress"]>;

/** Makes the graph in this thread. Throws ModelError for files that cannot be used. */
export async function runConversion(
  { format, path, config, folder, style, quantize }: Conversion,
  onProgress: OnProgress,
  quantiser: Quantiser = quantise,
): Promise<ImportReport> {
  if (format === "gguf") {
    const file = await openGguf(path);
    try {
      return await buildGgufGraph(file, config, folder, style, onProgress);
    } finally {
      file.close();
    }
  }
  const checkpoint = openCheckpoint(path);
  try {
    const quantisation = quantize && { kind: quantize, quantiser };
    return await buildCheckpointGraph(checkpoint, config, folder, style, onProgress, quantisation);
  } finally {
    checkpoint.close();
  }
}
