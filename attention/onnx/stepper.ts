import { messageOf } from "../../models/errors.ts";
import type { SampledRows, SamplingInput, StepInput } from "../types.ts";
import { BlockStore, type SlotShape } from "./block-store.ts";
import { checkStep } from "./check-step.ts";
import { Continuations } from "./continuations.ts";
import { bytesOfPast, type OnnxDecoder, type Past } from "./decoder.ts";
import type { DecoderSignature } from "./signature.ts";

/** What a step gave. */
export interface OnnxStepOutput {
  /** [logit rows, vocabSize]; empty if every one was sampled. */
  readonly logits: Float32Array;
  readonly sampled: SampledRows;
  /** For each sequence why it could not run; null if it did. Its rows of logits are zeros. */
  readonly errors: readonly (string | null)[];
  readonly seconds: number;
  readonly samplingSeconds: number;
}

/** Samples rows of logits, [rows, vocabSize]. */
export type SampleRows = (vocabSize: number, logits: Float32Array, input: SamplingInput) => SampledRows;

export interface StepperOptions {
  readonly blocks: number;
  readonly blockSize: number;
  readonly signature: DecoderSignature;
  readonly sample: SampleRows;
}

/** One sequence of a step. */
interface Share {
  readonly ids: Int32Array;
  readonly contextLength: number;
  readonly table: Int32Array;
  /** Rows whose logits are wanted; they are the last ones. */
  readonly wanted: number;
}

const noSamples: SampledRows = {
  tokenIds: new Int32Array(),
  faults: new Int32Array(),
  logprobs: new Float64Array(),
  topCount: 0,
  topIds: new Int32Array(),
  topLogprobs: new Float64Array(),
};

/** What a store keeps of a position: keys and values, or for a decoder without a cache the token itself. */
export function slotShapes({ slots }: Pick<DecoderSignature, "slots">): SlotShape[] {
  if (slots.length === 0) return [{ heads: 1, rowBytes: 4 }];
  return slots.map(({ heads, width, type }) => ({ heads, rowBytes: width * (type === "float32" ? 4 : 2) }));
}

/**
 * Runs steps of a decoder over a store of blocks: the sequences of a step one after the other, each from where its last step
 * ended, or else from what its blocks hold.
 */
export class OnnxStepper {
  private readonly decoder: OnnxDecoder;
  private readonly options: StepperOptions;
  private readonly store: BlockStore;
  private readonly ended: Continuations<Past>;

  constructor(decoder: OnnxDecoder, options: StepperOptions) {
    this.decoder = decoder;
    this.options = options;
    this.store = new BlockStore(options.blocks, options.blockSize, slotShapes(options.signature));
    this.ended = new Continuations(this.store, this.store.size * this.store.bytesPerBlock);
  }

  /** Throws RangeError, before anything runs, for a sequence that does not fit. */
  async step(input: StepInput): Promise<OnnxStepOutput> {
    const { vocabSize } = this.options.signature;
    checkStep(input, { ...this.options, vocabSize });
    const started = performance.now();
    const logits = new Float32Array(input.logitRows.length * vocabSize);
    const errors: (string | null)[] = [];
    let filled = 0;
    for (const share of sharesOf(input)) {
      const end = filled + share.wanted * vocabSize;
      try {
        logits.set(await this.run(share), filled);
        errors.push(null);
      } catch (error) {
        errors.push(messageOf(error).trim());
      }
      filled = end;
    }
    const sampling = performance.now();
    const sampled = input.sampling === undefined ? noSamples : this.options.sample(vocabSize, logits, input.sampling);
    const ended = performance.now();
    const all = input.sampling?.rows.length === input.logitRows.length;
    return {
      logits: all ? new Float32Array() : logits,
      sampled,
      errors,
      seconds: (ended - started) / 1000,
      samplingSeconds: (ended - sampling) / 1000,
    };
  }

  /** Copies a block of the store. */
  copyBlock(from: number, to: number): void {
    this.store.copy(from, to);
  }

  private run(share: Share): Promise<Float32Array> {
    return this.options.signature.slots.length === 0 ? this.runWhole(share) : this.runCached(share);
  }

  private async runCached({ ids, contextLength, table, wanted }: Share): Promise<Float32Array> {
    const past = this.ended.take(table, contextLength) ?? this.gathered(table, contextLength);
    const { logits, past: present } = await this.decoder.run(ids, past, wanted);
    const { length } = present;
    const bytes = bytesOfPast(present);
    this.store.write(table, contextLength, length, bytes, 0, length);
    const size = bytes.reduce((sum, { byteLength }) => sum + byteLength, 0);
    this.ended.put(table, length, present, size);
    return logits;
  }

  private gathered(table: Int32Array, length: number): Past {
    if (length === 0) return this.decoder.noPast();
    const bytes = this.options.signature.slots.map((_, slot) => this.store.gather(slot, table, length));
    return this.decoder.pastOf(length, bytes);
  }

  /** A graph without a cache sees all tokens again, where somebody wants to know what comes of them. */
  private async runWhole({ ids, contextLength, table, wanted }: Share): Promise<Float32Array> {
    const length = contextLength + ids.length;
    this.store.write(table, contextLength, length, [bytesOfIds(ids)], contextLength, ids.length);
    if (wanted === 0) return new Float32Array();
    const whole = new Int32Array(this.store.gather(0, table, length).buffer);
    return (await this.decoder.run(whole, this.decoder.noPast(), wanted)).logits;
  }
}

function bytesOfIds(ids: Int32Array): Uint8Array {
  return new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength);
}

/** The sequences of a step; rows whose logits are wanted are the last ones of theirs, see StepSequence.logits. */
function sharesOf(input: StepInput): Share[] {
  const { tokenIds, rowStarts, contextLengths, blockTables, blockTableStarts, logitRows } = input;
  return Array.from(contextLengths, (contextLength, i) => {
    const [begin, end] = [rowStarts[i]!, rowStarts[i + 1]!];
    return {
      ids: tokenIds.slice(begin, end),
      contextLength,
      table: blockTables.subarray(blockTableStarts[i]!, blockTableStarts[i + 1]!),
      wanted: logitRows.reduce((count, row) => count + (row >= begin && row < end ? 1 : 0), 0),
    };
  });
}
