import { env } from "onnxruntime-node";
import { packStep } from "../pack.ts";
import { sampledRow } from "../sampling.ts";
import type { SequencesOutput, StepSession } from "../session.ts";
import { defaultThreads } from "../threads.ts";
import type { StepSequence, Traffic } from "../types.ts";
import { bytesPerBlock } from "./block-store.ts";
import { type CacheShape, type DecoderSignature, readSignature, type ValueMetadata } from "./signature.ts";
import { slotShapes } from "./stepper.ts";
import { OnnxThread } from "./thread.ts";

/** What attention reads is known inside the graph alone. */
const NO_TRAFFIC: Traffic = { scoreBytes: 0, gatherBytes: 0, denseBytes: 0, denseEquivalentBytes: 0 };

/** A decoder's ONNX file that ONNX Runtime has open, unmodified. */
export interface OpenedDecoder {
  readonly path: string;
  readonly threads: number;
  readonly inputs: readonly ValueMetadata[];
  readonly outputs: readonly ValueMetadata[];
  readonly signature: DecoderSignature;
  /**
   * Bytes that a block of the cache takes: keys and values, and the same again in the form that a running sequence's next step
   * takes them in.
   */
  bytesPerBlock(blockSize: number): number;
  /** The session, which closing frees. Once. Rejects with ModelError for a graph that does not run as a decoder. */
  begin(sizes: { readonly blocks: number; readonly blockSize: number }): Promise<StepSession>;
  /** Why no step can run any more; undefined while all is well. */
  broken(): string | undefined;
  /** For one that is not begun. */
  close(): void;
}

/**
 * Opens a decoder in a thread of its own, since onnxruntime-node keeps the thread that it runs in. Rejects with ModelError:
 * "unsupported_graph" for a file that ONNX Runtime does not open, or inputs that are not a decoder's; "unsupported_config" where
 * it is not what config.json says.
 */
export async function openDecoder(
  path: string,
  shape: CacheShape,
  options: { readonly threads?: number | undefined } = {},
): Promise<OpenedDecoder> {
  const threads = options.threads ?? defaultThreads();
  const thread = new OnnxThread({ path, threads });
  try {
    const { inputs, outputs } = await thread.opened;
    const signature = readSignature(path, inputs, outputs, shape);
    return {
      path,
      threads,
      inputs,
      outputs,
      signature,
      bytesPerBlock: (blockSize) => 2 * bytesPerBlock(slotShapes(signature), blockSize),
      begin: async (sizes) => {
        try {
          await thread.begin({ kind: "begin", signature, ...sizes });
          return new OnnxSession(thread, signature, { ...sizes, threads });
        } catch (error) {
          thread.close();
          throw error;
        }
      },
      broken: () => thread.died?.message,
      close: () => thread.close(),
    };
  } catch (error) {
    thread.close();
    throw error;
  }
}

class OnnxSession implements StepSession {
  readonly blocks: number;
  readonly blockSize: number;
  readonly threads: number;
  readonly layers = undefined;
  readonly cacheBytes: number;
  readonly runtimeVersion = env.versions.node ?? env.versions.common;
  private readonly thread: OnnxThread;
  private readonly vocabSize: number;
  private running = false;

  constructor(
    thread: OnnxThread,
    signature: DecoderSignature,
    { blocks, blockSize, threads }: { blocks: number; blockSize: number; threads: number },
  ) {
    this.thread = thread;
    this.vocabSize = signature.vocabSize;
    this.blocks = blocks;
    this.blockSize = blockSize;
    this.threads = threads;
    this.cacheBytes = 2 * blocks * bytesPerBlock(slotShapes(signature), blockSize);
  }

  async step(sequences: readonly StepSequence[]): Promise<SequencesOutput> {
    if (this.running) throw new Error("a step of this session is running already");
    this.running = true;
    try {
      return await this.run(sequences);
    } finally {
      this.running = false;
    }
  }

  copyBlock(from: number, to: number): void {
    for (const block of [from, to]) {
      if (!(Number.isInteger(block) && block >= 0 && block < this.blocks)) {
        throw new RangeError(`block ${block} of ${this.blocks} cannot be copied`);
      }
    }
    if (this.running) throw new Error("a block cannot be copied while a step runs");
    this.thread.copy(from, to);
  }

  close(): void {
    this.thread.close();
  }

  private async run(sequences: readonly StepSequence[]): Promise<SequencesOutput> {
    const { input, logitRanges } = packStep(sequences);
    const { output } = await this.thread.step({ kind: "step", input });
    const errors = output.errors.map((message) => (message === null ? undefined : new Error(message)));
    const logits = logitRanges.map(({ start, end, sampled }, i) => {
      const rows = sampled === undefined && errors[i] === undefined ? end - start : 0;
      return output.logits.subarray(start * this.vocabSize, (start + rows) * this.vocabSize);
    });
    const sampled = sequences.map(({ sampling = [] }, i) => {
      const first = logitRanges[i]!.sampled ?? 0;
      if (errors[i] !== undefined) return [];
      return sampling.map((row, j) => sampledRow(output.sampled, first + j, row.logprobs));
    });
    return {
      logits,
      sampled,
      hidden: sequences.map(() => undefined),
      errors,
      traffic: NO_TRAFFIC,
      seconds: output.seconds,
      attentionSeconds: 0,
      samplingSeconds: output.samplingSeconds,
    };
  }
}
