import type { ModelConfig } from "../models/types.ts";
import { loadAddon, runtimeLibraryPath } from "./binding.ts";
import { packStep } from "./pack.ts";
import { splitHidden } from "./pack-tail.ts";
import { sampledRow } from "./sampling.ts";
import { defaultThreads } from "./threads.ts";
import {
  type CacheDtype,
  type KernelFault,
  type KvStoreShape,
  kernelFaults,
  type NativeKvStore,
  type NativeSession,
  type Observation,
  type SampledRow,
  type ScanDtype,
  type StepSequence,
  type StepTimes,
  type Traffic,
} from "./types.ts";

/** Positions in a block of the store. */
export const BLOCK_SIZE = 128;

/** Bytes of one block of a store, in all layers and KV heads. The native side knows its layout: a store of one block is asked. */
export function bytesPerBlock(
  { layers, kvHeads, headDim }: Pick<KvStoreShape, "layers" | "kvHeads" | "headDim">,
  { dtype, scanDtype }: Required<Pick<KvStoreShape, "dtype" | "scanDtype">>,
): number {
  const shape = { layers, kvHeads, headDim, blockSize: BLOCK_SIZE, blocks: 1, dtype, scanDtype };
  const store = loadAddon().createKvStore(shape);
  const bytes = store.bytesPerBlock;
  store.close();
  return bytes;
}

export interface OpenSessionOptions {
  /** A canonical graph, see PreparedModel.graphPath. */
  readonly graphPath: string;
  readonly config: Pick<ModelConfig, "layers" | "kvHeads" | "headDim" | "vocabSize">;
  /** Blocks of the KV store, of `blockSize` positions each. */
  readonly blocks: number;
  readonly blockSize?: number;
  /** How the store keeps keys and values, and the keys that SparQ scans; default: exactly, in f32. */
  readonly dtype?: CacheDtype;
  readonly scanDtype?: ScanDtype;
  /** Default: SPARQ_THREADS or the container's allowance. */
  readonly threads?: number;
  /** Idle threads spin between a step's operators; default true. Set false when other work shares the cores. */
  readonly spinning?: boolean;
  /** Default: the library that onnxruntime-node ships. */
  readonly libraryPath?: string;
  /** For rank "mass": track the masses of all prompts, which takes each a second, slower pass over its keys. */
  readonly trackMass?: boolean;
  /** Sum up what sparse rows keep, for `observed`: they read every key once more. */
  readonly observe?: boolean;
}

export interface SequencesOutput {
  /**
   * For each sequence, in order, [rows asked for, vocabSize]; empty for "none" and where rows were sampled. Views of one
   * array, new for each step.
   */
  readonly logits: readonly Float32Array[];
  /** For each sequence, in order, what its rows were sampled to; empty without sampling. */
  readonly sampled: readonly (readonly SampledRow[])[];
  /** For each sequence, in order, what its rows go on with if they stopped between layers. */
  readonly hidden: readonly (Float32Array | undefined)[];
  /** For each sequence, in order, why it could not run, if it could not; nothing of it is given then. Absent: all could. */
  readonly errors?: readonly (Error | undefined)[];
  readonly traffic: Traffic;
  /** Wall time inside the native call, seconds. */
  readonly seconds: number;
  /** Of these, attention: all layers, writing their keys and values included. */
  readonly attentionSeconds: number;
  /** Of these, sampling. */
  readonly samplingSeconds: number;
  /** Of timed steps. */
  readonly times?: StepTimes;
}

/** What runs steps of a model over a paged store of its own. */
export interface StepSession {
  readonly blocks: number;
  readonly blockSize: number;
  readonly threads: number;
  /** Layers that a prompt's rows may stop between; undefined if they cannot stop. */
  readonly layers: number | undefined;
  /** What its cache takes at most. */
  readonly cacheBytes: number;
  /** The version of ONNX Runtime. */
  readonly runtimeVersion: string;
  /**
   * Runs the sequences' new tokens. Rejects for a sequence that does not fit the store or the model, with the numbers, and
   * when a step is running already; nothing has been written to the store then. `timed`: says where the time goes, for which
   * clocks are read some times a layer and row.
   */
  step(sequences: readonly StepSequence[], options?: { readonly timed?: boolean }): Promise<SequencesOutput>;
  /** Copies a block of the store. Throws Error while a step runs. */
  copyBlock(from: number, to: number): void;
  /** Frees session and store, after the running step if there is one. Closing twice is fine. */
  close(): void;
}

/** A model whose attention is computed by the kernels. */
export interface Session extends StepSession {
  readonly store: NativeKvStore;
  readonly session: NativeSession;
  /** What sparse rows kept since the last reset, by layer; zeros unless opened with `observe`. Throws Error while a step runs. */
  observed(): readonly Observation[];
  /** Throws Error while a step runs. */
  resetObserved(): void;
}

/** Loads a graph and makes its store. Throws, naming the file, for a graph that is missing, foreign or made for another shape. */
export async function openSession(options: OpenSessionOptions): Promise<Session> {
  const {
    graphPath,
    config,
    blocks,
    blockSize = BLOCK_SIZE,
    dtype = "f32",
    scanDtype = "f32",
    spinning = true,
    trackMass = false,
    observe = false,
  } = options;
  const { layers, kvHeads, headDim, vocabSize } = config;
  const threads = options.threads ?? defaultThreads();
  const libraryPath = options.libraryPath ?? runtimeLibraryPath();
  const addon = loadAddon();
  const store = addon.createKvStore({ layers, kvHeads, headDim, blockSize, blocks, dtype, scanDtype, trackMass });
  try {
    const fault = faultFromEnvironment();
    const session = await addon.loadSession({
      libraryPath,
      graphPath,
      store,
      vocabSize,
      threads,
      spinning,
      observe,
      ...(fault ? { fault } : {}),
    });
    return new OpenSession(store, session, { blocks, blockSize, threads, vocabSize });
  } catch (error) {
    store.close();
    throw error;
  }
}

/**
 * SPARQ_FAULT breaks SparQ's kernels on purpose, to prove that something notices; for tests alone. Throws RangeError for a fault
 * that there is not.
 */
function faultFromEnvironment(): KernelFault | undefined {
  const name = process.env.SPARQ_FAULT;
  if (!name) return undefined;
  const fault = kernelFaults.find((known) => known === name);
  if (!fault) throw new RangeError(`SPARQ_FAULT is ${name}, must be one of ${kernelFaults.join(", ")}`);
  console.error(`sparq: SPARQ_FAULT=${fault} BREAKS SPARQ ATTENTION ON PURPOSE: every answer of this session is wrong`);
  return fault;
}

class OpenSession implements Session {
  readonly store: NativeKvStore;
  readonly session: NativeSession;
  readonly blocks: number;
  readonly blockSize: number;
  readonly threads: number;
  readonly layers: number | undefined;
  private readonly vocabSize: number;

  constructor(
    store: NativeKvStore,
    session: NativeSession,
    sizes: { blocks: number; blockSize: number; threads: number; vocabSize: number },
  ) {
    this.store = store;
    this.session = session;
    this.blocks = sizes.blocks;
    this.blockSize = sizes.blockSize;
    this.threads = sizes.threads;
    this.layers = session.relayWidth > 0 ? session.layers : undefined;
    this.vocabSize = sizes.vocabSize;
  }

  get cacheBytes(): number {
    return this.store.bytes;
  }

  get runtimeVersion(): string {
    return this.session.runtimeVersion;
  }

  async step(sequences: readonly StepSequence[], { timed = false } = {}): Promise<SequencesOutput> {
    const { input, logitRanges } = packStep(sequences);
    const output = await this.session.step(timed ? { ...input, timed } : input);
    const logits = logitRanges.map(({ start, end, sampled }) => {
      const rows = sampled === undefined ? end - start : 0;
      return output.logits.subarray(start * this.vocabSize, (start + rows) * this.vocabSize);
    });
    const sampled = sequences.map(({ sampling = [] }, i) => {
      const first = logitRanges[i]!.sampled ?? 0;
      return sampling.map((row, j) => sampledRow(output.sampled, first + j, row.logprobs));
    });
    return {
      logits,
      sampled,
      hidden: splitHidden(sequences, output.hidden, this.session.relayWidth),
      traffic: output.traffic,
      seconds: output.seconds,
      attentionSeconds: output.attentionSeconds,
      samplingSeconds: output.samplingSeconds,
      ...(output.times ? { times: output.times } : {}),
    };
  }

  copyBlock(from: number, to: number): void {
    this.store.copyBlock(from, to);
  }

  observed(): readonly Observation[] {
    const sums = this.session.observed();
    return Array.from({ length: sums.length / 4 }, (_, layer) => {
      const [rows, recall, massKept, alpha] = sums.subarray(4 * layer, 4 * layer + 4) as unknown as number[];
      return { rows: rows!, recall: recall!, massKept: massKept!, alpha: alpha! };
    });
  }

  resetObserved(): void {
    this.session.resetObserved();
  }

  close(): void {
    this.session.close();
    this.store.close();
  }
}
