import type { Activation } from "./architectures/types.ts";
import type { GraphFacts } from "./genai/config.ts";
import type { SamplingDefaults } from "./sampling-defaults.ts";

/** config.json, normalised over architectures. Sizes in elements. */
export interface ModelConfig {
  /** The name of the file that it was read from, for errors; config.json when absent. */
  readonly file?: string;
  /** One of the architectures that graphs are built for; an ONNX graph's may be any. */
  readonly modelType: string;
  readonly layers: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly vocabSize: number;
  /** The longest sequence, in tokens, that the model was made for. */
  readonly maxPositions: number;
  /** Leading components of a head that rope rotates. */
  readonly rotaryDim: number;
  /** [rotaryDim / 2], rope scaling included, computed as Hugging Face transformers does (in f32). */
  readonly inverseFrequencies: Float32Array;
  /** Multiplied into cos and sin (YaRN, longrope); 1 otherwise. */
  readonly ropeScale: number;
  /** Which of the frequencies there could be, where they depend on the longest sequence to be served. */
  readonly ropeVariant?: string;
  /** Positions up to which longrope's short factors are meant to be used. */
  readonly shortPositions?: number;
  /** For each layer how many positions back a row sees, itself included; 0: all. Absent: all layers see all. */
  readonly windows?: readonly number[];
  readonly normEps: number;
  /** The feed-forward's; silu when absent. */
  readonly activation?: Activation;
  /** The linear layers that have a bias, by their names within a layer. Absent: those for which the file has one. */
  readonly biases?: readonly string[];
  readonly tiedHead: boolean;
  readonly parallelResidual: boolean;
  readonly bosTokenId?: number;
  readonly eosTokenIds: readonly number[];
  readonly sampling?: SamplingDefaults;
}

export interface TokenizerFiles {
  readonly tokenizerJson: Record<string, unknown>;
  readonly tokenizerConfig: Record<string, unknown>;
  /** Jinja source, from tokenizer_config.json, chat_template.jinja or the GGUF. */
  readonly chatTemplate?: string;
}

/** What the import did, for `sparq inspect`. */
export interface ImportReport {
  readonly format: "onnx" | "gguf" | "safetensors";
  /** Files read, with sizes in bytes. */
  readonly files: readonly { readonly path: string; readonly bytes: number }[];
  /** One line for each attention replaced: the layer and the node it was found at. */
  readonly attentions: readonly { readonly layer: number; readonly node: string; readonly pattern: string }[];
  readonly removedInputs: readonly string[];
  readonly removedOutputs: readonly string[];
  readonly nodesBefore: number;
  readonly nodesAfter: number;
  readonly parameters: number;
  readonly weightBytes: number;
  /** How the linears are stored and multiplied: "f32", "Q4_1 and Q8_0 by qlinear; activations int8x2", ... */
  readonly weights: string;
  /** Largest |difference| of logits between the original and the rewritten graph on the probe prompt; null if not run. */
  readonly selfCheck: number | null;
  /** Of the configuration, what only the graph tells. */
  readonly facts?: GraphFacts;
}

/** A model that a session can load. */
export interface PreparedModel {
  /** The name it is served under, e.g. "tiny-llama". */
  readonly name: string;
  readonly source: string;
  readonly config: ModelConfig;
  /** The canonical graph: inputs input_ids int64 [1, T] and logit_rows int64 [R], output logits float [1, R, vocab]. */
  readonly graphPath: string;
  readonly tokenizer: TokenizerFiles;
  readonly report: ImportReport;
  /** Whether `graphPath` came from the cache (true) or was made now. */
  readonly cached: boolean;
}

export interface LoadModelOptions {
  /** Where prepared graphs go when the model's own folder cannot be written; default: the user's cache folder. */
  readonly cacheDir?: string;
  /** Make the graph anew even if a cached one fits. */
  readonly force?: boolean;
  /** What multiplies quantised weights, see builder/style.ts; default SPARQ_LINEARS or "qlinear". */
  readonly linears?: "qlinear" | "matmulnbits";
  /** How inputs of quantised linears are rounded, see builder/style.ts; default SPARQ_ACTIVATIONS or "int8x2". */
  readonly activations?: "int8x2" | "int8";
  /** Whether weights that are plain floats are read in the model's own files, see builder/style.ts; default SPARQ_WEIGHTS or "mapped". */
  readonly weights?: "mapped" | "copied";
  /** How the weights of a checkpoint that has floats are kept, see safetensors/quantise.ts; as they are when left out. */
  readonly quantize?: "int4" | "int8" | undefined;
  /** The longest sequence to be served, which some rope scalings go by; as long as the model was made for when left out. */
  readonly maxContext?: number | undefined;
  readonly onProgress?: (done: number, total: number, what: string) => void;
}
