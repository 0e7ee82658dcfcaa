/** Shape of the paged KV cache. One block holds `blockSize` positions of every layer and KV head. */
export interface KvStoreShape {
  readonly layers: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly blockSize: number;
  readonly blocks: number;
  /** How keys and values are stored; "f32" when left out. */
  readonly dtype?: CacheDtype;
  /** How the keys by component that SparQ scans are stored; "f32" when left out. "int8" needs a multiple of 64 as blockSize. */
  readonly scanDtype?: ScanDtype;
  /** Keep what rank "mass" ranks by: a sum for each position, layer and KV head, of every sequence that is run. */
  readonly trackMass?: boolean;
}

/** In the order of DType in native/elements.h. int8 and fp8 (e4m3) have one scale for each position and head. */
export const cacheDtypes = ["f32", "f16", "bf16", "int8", "fp8"] as const;
export type CacheDtype = (typeof cacheDtypes)[number];

/** int8 has one range for each component of a page. */
export const scanDtypes = ["f32", "f16", "bf16", "int8"] as const;
export type ScanDtype = (typeof scanDtypes)[number];

/**
 * What ranks the positions of a sparse row before the top-k, in the order of Rank in native/attention.h. All but "sparq" are
 * what SparQ is compared with, and slower than it.
 *
 * - "sparq": r components of the keys (arXiv 2312.04985v6).
 * - "exact": the softmax of the exact logits, the bound of all such choices (FlexGen, arXiv 2303.06865); reads every key.
 * - "none": nothing. The k - sinks most recent positions are kept (LM-Infinite, arXiv 2308.16137; StreamingLLM, 2309.17453).
 * - "random": a hash of layer, KV head and the positions of row and key.
 * - "mass": the softmax mass that each position got from the rows so far, summed over the group (H2O, arXiv 2306.14048). A
 *   position once left out never comes back. Needs a store with `trackMass`, and for each sequence blocks that it shares with
 *   no other from its first position on; see native/mass.h.
 */
export const ranks = ["sparq", "exact", "none", "random", "mass"] as const;
export type Rank = (typeof ranks)[number];

/**
 * How one sequence attends while it decodes. Prefill is always dense and causal.
 * Source: SparQ Attention, arXiv 2312.04985v6, Algorithm 1 and appendix on grouped-query attention.
 */
export interface AttentionSettings {
  readonly mode: "dense" | "sparq";
  /** Query components used in the score pass, 1..headDim. */
  readonly r: number;
  /** Positions kept; with at most k positions visible a row attends densely. */
  readonly k: number;
  /** The last `local` positions are always kept, 0..k. */
  readonly local: number;
  /** Give the mass that was left out to the running mean of V. Not with ranks "none", "random" and "mass", which estimate none. */
  readonly meanValue: boolean;
  /** What is summed over a GQA group before the top-k: softmaxed scores (the paper) or raw logits (its code). */
  readonly groupSum: "softmax" | "logits";
  /**
   * 0 or left out: the top-k is exact. 1, 2 or 4: approximate, so many kept of each of about k / bucketTopK interleaved
   * buckets (arXiv 2412.04358). With rank "sparq" only.
   */
  readonly bucketTopK?: 0 | 1 | 2 | 4;
  /** What ranks positions; "sparq" when left out. */
  readonly rank?: Rank;
  /** The first `sinks` positions of the sequence are always kept, among the k: 0..k - local; 0 when left out. */
  readonly sinks?: number;
  /**
   * The engine attends densely while fewer positions than this are visible, since SparQ is no faster there; 0 when left out.
   * The kernels know nothing of it.
   */
  readonly minContext?: number;
  /**
   * Where this share of the visible positions is more than k, the engine keeps so many (and as many more of the most recent), in
   * steps of 64: 0 to 1, 0 when left out. The kernels know nothing of it.
   */
  readonly kShare?: number;
}

/** Bytes that a step's attention must read from the KV cache, over all layers and heads. */
export interface Traffic {
  readonly scoreBytes: number;
  readonly gatherBytes: number;
  readonly denseBytes: number;
  /** What the same rows would have read with dense attention. */
  readonly denseEquivalentBytes: number;
}

/**
 * What sparse rows kept, summed over rows; each row counts with its mean over KV heads. Rows that attend densely are not in
 * it.
 */
export interface Observation {
  readonly rows: number;
  /** Share of the kept positions that are among as many of the largest exact scores (softmaxed, summed over the group). */
  readonly recall: number;
  /** Of the exact softmax, what the kept positions have: the mean over the group's heads. */
  readonly massKept: number;
  /** The same as the row estimated it: by SparQ's approximate scores, exactly with rank "exact", 1 with the other ranks. */
  readonly alpha: number;
}

/** One sequence's share of a step. */
export interface StepSequence {
  /** New tokens to run, in order: one for decode, a chunk for prefill. */
  readonly tokenIds: readonly number[];
  /** Positions already in the cache; tokenIds[i] gets position contextLength + i. */
  readonly contextLength: number;
  /** Blocks of the store that hold positions 0..contextLength + tokenIds.length - 1, in order. */
  readonly blockTable: readonly number[];
  readonly attention: AttentionSettings;
  /** Rows at positions below this (the prompt) attend densely whatever the mode. */
  readonly denseUntil: number;
  /** Whether the logits of the last row, of all rows, or of none are wanted. */
  readonly logits: "none" | "last" | "all";
  /** How each of these rows becomes a token, in order. Without it their logits are given. */
  readonly sampling?: readonly RowSampling[];
  /**
   * The rows pass through some layers only; the others in other steps, in order. Sequences that have it come last in a step,
   * after at least one that has not, and all have the same. Their logits can be wanted where `end` is the last layer's.
   */
  readonly layers?: LayerRange;
}

/** Layers [begin, end) of a model. */
export interface LayerRange {
  readonly begin: number;
  readonly end: number;
  /** [rows, hidden size]: what the step that ended at `begin` gave for these rows; undefined if that is 0. */
  readonly hidden?: Float32Array;
}

/**
 * How a row of logits becomes a token: mask, bias and penalties, temperature, top-k, top-p of what top-k left, min-p, a draw.
 * What it means exactly stands in native/sampling.h; sampling-reference.ts is the plain form.
 */
export interface RowSampling {
  /** 0 = greedy. */
  readonly temperature: number;
  /** 0 = off. */
  readonly topK: number;
  /** In (0, 1]; 1 = off. */
  readonly topP: number;
  /** In [0, 1]; 0 = off. Tokens of less than this share of the likeliest one's probability are out. */
  readonly minP: number;
  /** > 0; 1 = off. */
  readonly repetitionPenalty: number;
  readonly presencePenalty: number;
  readonly frequencyPenalty: number;
  /** For the penalties: pairs of a token of the prompt or the output, and how often it was generated. */
  readonly counts: Int32Array;
  /** Tokens whose logits get something added; biases[i] of -Infinity rules biasTokens[i] out. */
  readonly biasTokens: Int32Array;
  readonly biases: Float32Array;
  /** Which tokens may be chosen: bit i % 32 of word i / 32 is token i's, [ceil(vocabSize / 32)]. Undefined: all. */
  readonly mask?: Int32Array;
  /** The random number, in [0, 1). */
  readonly uniform: number;
  /**
   * Log-probability wanted of the token, and of this many of the likeliest, at most 20: of the logits as the model gave
   * them. Undefined: none.
   */
  readonly logprobs?: number;
  /** The token, instead of a choice: for the log-probabilities of a text. */
  readonly token?: number;
}

export interface TokenLogprob {
  readonly tokenId: number;
  readonly logprob: number;
}

/** What became of a row. */
export interface SampledRow extends TokenLogprob {
  /** NaN unless asked for. */
  readonly logprob: number;
  /** The likeliest tokens, the likeliest first, as many as asked for. */
  readonly top: readonly TokenLogprob[];
  /** Why there is no token: the model's logits are at fault. */
  readonly error?: Error;
}

/** Which of a step's R logit rows are sampled, and how: S rows of flat arrays. */
export interface SamplingInput {
  readonly rows: Int32Array; // [S], ascending
  readonly params: Float64Array; // [S * 10], see SamplingInput::row in native/sampling_input.cc
  readonly countStarts: Int32Array; // [S + 1], in pairs
  readonly counts: Int32Array; // [pairs * 2]
  readonly biasStarts: Int32Array; // [S + 1]
  readonly biasTokens: Int32Array;
  readonly biases: Float32Array;
  readonly maskStarts: Int32Array; // [S + 1]
  readonly masks: Int32Array;
}

/** The tokens of S rows. */
export interface SampledRows {
  readonly tokenIds: Int32Array; // [S]
  readonly faults: Int32Array; // [S], Fault in native/sampling.h; tokenIds then name the token at fault
  readonly logprobs: Float64Array; // [S], NaN unless asked for
  /** Likeliest tokens of the row that asked for the most of them. */
  readonly topCount: number;
  readonly topIds: Int32Array; // [S * topCount], -1 beyond what the row asked for
  readonly topLogprobs: Float64Array; // [S * topCount]
}

/** A step as the native side takes it: flat typed arrays over ragged rows. N sequences, T rows, R logit rows. */
export interface StepInput {
  readonly tokenIds: Int32Array; // [T]
  readonly rowStarts: Int32Array; // [N + 1]
  readonly contextLengths: Int32Array; // [N]
  readonly blockTables: Int32Array; // [sum of table lengths]
  readonly blockTableStarts: Int32Array; // [N + 1]
  readonly settings: Int32Array; // [N * 10], see Settings in native/attention.h
  readonly logitRows: Int32Array; // [R], rows of which logits are wanted, ascending
  readonly sampling?: SamplingInput;
  readonly tail?: TailInput;
  /** Measure where the step's time goes. */
  readonly timed?: boolean;
}

/** The sequences of a step that pass through layers [beginLayer, endLayer) only: those from the given one on. */
export interface TailInput {
  readonly firstSequence: number;
  readonly beginLayer: number;
  readonly endLayer: number;
  readonly hidden: Float32Array; // [rows, relayWidth], empty when beginLayer is 0
}

export interface StepOutput {
  /** [R, vocabSize]; empty if every row was sampled. */
  readonly logits: Float32Array;
  /** [rows, relayWidth] of a tail that stopped before the last layer; else empty. */
  readonly hidden: Float32Array;
  readonly sampled: SampledRows;
  readonly traffic: Traffic;
  /** Wall time inside the native call, seconds. */
  readonly seconds: number;
  /** Of these, attention: all layers, writing their keys and values included. */
  readonly attentionSeconds: number;
  /** Of these, sampling. */
  readonly samplingSeconds: number;
  /** Of steps that ask for it. */
  readonly times?: StepTimes;
}

/**
 * Where a step's time goes, in seconds. Those of attention are sums over the threads that it computes with, all layers: divided by the
 * threads they are at most `attentionSeconds`, of which the rest is threads that wait for others.
 */
export interface StepTimes {
  /** Wall time in linears of our own (QLinear, DenseLinear), the one that gives the logits included; 0 where all are ONNX Runtime's. */
  readonly linears: number;
  /** Rope of keys, and writing keys and values. */
  readonly append: number;
  /** SparQ step 1: the reduced query, scores of every visible position and their softmax. */
  readonly scan: number;
  /** Which positions are kept. */
  readonly topK: number;
  /** Exact attention over these, and SparQ step 3. */
  readonly gather: number;
  /** Rows that attend densely. */
  readonly dense: number;
  /** Rows of other ranks than "sparq", all of them. */
  readonly other: number;
}

export interface SessionOptions {
  /** The `libonnxruntime` that onnxruntime-node ships. */
  readonly libraryPath: string;
  /** A graph whose attention nodes are sparq.PagedAttention. */
  readonly graphPath: string;
  readonly store: NativeKvStore;
  readonly vocabSize: number;
  /** Intra-op threads, >= 1. */
  readonly threads: number;
  /** Let idle pool threads spin between kernels; false when other work shares the cores. */
  readonly spinning: boolean;
  /** Sum up what sparse rows keep, see Observation: they read every key once more. */
  readonly observe?: boolean;
  /** For tests of what should notice. */
  readonly fault?: KernelFault;
}

/** SparQ's kernels broken on purpose, in the order of KernelFault in native/attention.h. */
export const kernelFaults = ["page", "tau", "group"] as const;
export type KernelFault = (typeof kernelFaults)[number];

export interface NativeKvStore {
  readonly bytes: number;
  readonly bytesPerBlock: number;
  copyBlock(from: number, to: number): void;
  close(): void;
}

export interface NativeSession {
  /** The version string of the ONNX Runtime library in use. */
  readonly runtimeVersion: string;
  /** Layers whose attention the graph asks for, as found at load. */
  readonly layers: number;
  /** Values of a row between two layers; 0 if rows cannot stop there. */
  readonly relayWidth: number;
  /** Runs one step off the main thread. Steps of one session never overlap: a second call while one runs rejects. */
  step(input: StepInput): Promise<StepOutput>;
  /**
   * [layers][rows, recall, massKept, alpha] of the steps so far, see Observation; zeros unless the session observes. Throws
   * Error while a step runs.
   */
  observed(): Float64Array;
  /** Begins these sums anew. Throws Error while a step runs. */
  resetObserved(): void;
  /** Throws Error if a file of weights that the graph reads where it is has changed: no step succeeds any more. */
  checkFiles(): void;
  close(): void;
}

/** One layer's attention over one ragged batch, for tests and kernel benchmarks. Shapes as in native/attention.h. */
export interface AttendInput {
  readonly layer: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly scale: number;
  readonly window: number;
  readonly rotaryDim: number;
  readonly interleaved: boolean;
  /** [rotaryDim / 2] inverse frequencies; ignored when rotaryDim is 0. */
  readonly inverseFrequencies: Float32Array;
  /** Multiplied into cos and sin (YaRN, longrope); 1 otherwise. */
  readonly ropeScale: number;
  /** [T, (heads + 2 kvHeads) * headDim]: q, k, v of each row side by side. */
  readonly qkv: Float32Array;
  readonly rowStarts: Int32Array;
  readonly contextLengths: Int32Array;
  readonly blockTables: Int32Array;
  readonly blockTableStarts: Int32Array;
  readonly settings: Int32Array;
  /** Whether to say what sparse rows kept. */
  readonly observe?: boolean;
}

export interface AttendOutput {
  /** [T, heads * headDim] */
  readonly out: Float32Array;
  readonly traffic: Traffic;
  /** If asked for. */
  readonly observed?: Observation;
}

/** A filled cache whose decode attention is timed. Shape limits as KvStoreShape's. */
export interface KernelBenchOptions extends Omit<KvStoreShape, "blocks"> {
  readonly path: string;
  /** Query heads of a KV head. */
  readonly groupSize: number;
  /** Positions of each sequence. */
  readonly context: number;
  readonly batch: number;
  readonly threads: number;
}

/** All synchronous. `settings`: one sequence's, SETTINGS_LENGTH int32. See native/kernel_bench.h. */
export interface NativeKernelBench {
  /** Of the store. */
  readonly bytes: number;
  /**
   * Seconds of a decode step's attention in all layers. `naive`: by a plain loop on one thread, dtype "f32" only; `cold`:
   * other memory is read first, so that little of the store is in the processor's caches.
   */
  run(settings: Int32Array, naive: boolean, cold: boolean): number;
  /** What such a step reads of the cache. Runs it once. */
  traffic(settings: Int32Array): Traffic;
  close(): void;
}

/** Everything that the addon exports. */
export interface NativeAddon {
  /** Kernel paths this CPU can run, fastest first: "avx512vnni", "avx512", "avx2", "neondot", "neon", "scalar". */
  availablePaths(): string[];
  /** The path that sessions use: the fastest, or what SPARQ_ISA names. */
  defaultPath(): string;
  createKvStore(shape: KvStoreShape): NativeKvStore;
  loadSession(options: SessionOptions): Promise<NativeSession>;
  /** Gives memory that the C library keeps for reuse back to the system. Takes milliseconds. */
  releaseFreeMemory(): void;
  /** Runs synchronously on the named path with `threads` threads. */
  attend(store: NativeKvStore, path: string, threads: number, input: AttendInput): AttendOutput;
  /** Bytes a second at which `threads` threads together read `bytes` (at most 2^31 - 1) of memory. Synchronous. */
  readBandwidth(bytes: number, threads: number): number;
  /** Fills the cache with noise: takes the store's memory, and a second or so for each GB. */
  createKernelBench(options: KernelBenchOptions): NativeKernelBench;
  /** Samples rows of `logits` [R, vocabSize] synchronously on the named path with `threads` threads. */
  sample(
    path: string,
    threads: number,
    vocabSize: number,
    logits: Float32Array,
    sampling: SamplingInput,
  ): SampledRows & { readonly seconds: number };
}
