import { setImmediate as eventLoopTurn } from "node:timers/promises";
import { greedySampling } from "../../attention/sampling.ts";
import { Sampler } from "../../attention/sampling-reference.ts";
import type { AttentionSettings, SampledRow, StepSequence } from "../../attention/types.ts";
import type { RunnerOutput, StepRunner } from "../../server/engine/engine.ts";
import { RandomStream } from "../../server/engine/random.ts";
import { RowSettings } from "../../server/engine/row-settings.ts";
import type { EventLogprobs, GenerateRequest } from "../../server/engine/types.ts";

/** A hash of two 32-bit words, well mixed (murmur3's finalizer). */
function mix(a: number, b: number): number {
  let h = Math.imul(a ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(b + 0x7f4a7c15, 0xc2b2ae35);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function hashSettings(settings: AttentionSettings): number {
  return [...JSON.stringify(settings)].reduce((hash, letter) => mix(hash, letter.charCodeAt(0)), 0);
}

/**
 * What a position leaves in the cache: a hash of its token, its place, and all that it attended to; of its settings too
 * unless it belongs to the prompt. `history` is the fold of the entries before it.
 */
function entryOf(
  history: number,
  token: number,
  position: number,
  denseUntil: number,
  settings: AttentionSettings,
): number {
  return mix(mix(mix(history, token), position), position < denseUntil ? 0 : hashSettings(settings));
}

/** A habit makes what followed a token likely to follow it again. */
function logitsOf(history: number, token: number, vocabSize: number, habit: number): Float32Array {
  return Float32Array.from({ length: vocabSize }, (_, id) => {
    return ((mix(history, id) + habit * mix(token, id)) / 2 ** 32) * 8;
  });
}

/** What rows are between layers: whole numbers that a float32 holds. */
function stateOf({ tokenIds, contextLength }: StepSequence, layer: number): Float32Array {
  return Float32Array.from(tokenIds, (token, i) => mix(mix(token, contextLength + i), layer) >>> 8);
}

/** What the step would sample from a sequence's rows of logits. */
export function sampleRows(sequence: StepSequence, rows: readonly Float32Array[]): SampledRow[] {
  const { sampling = [] } = sequence;
  if (sampling.length !== rows.length)
    throw new Error(`sampling of ${sampling.length} rows, ${rows.length} have logits`);
  return rows.map((logits, i) => new Sampler(logits.length).sample(logits, sampling[i]!));
}

/** A row of a prompt takes almost half the time of a step. */
const SECONDS_OF_ROW = 0.4;

export interface FakeRunnerOptions {
  readonly vocabSize: number;
  readonly blocks: number;
  readonly blockSize: number;
  /** How much the next token depends on the last one alone; default 0. */
  readonly habit?: number;
  /** Rows may stop between so many layers. */
  readonly layers?: number;
  /** Called before each step; what it throws fails the step. */
  readonly beforeStep?: (sequences: readonly StepSequence[], step: number) => void | Promise<void>;
}

/**
 * A model whose logits hash everything that its block tables lead to: a wrong, stale or lost block changes the tokens.
 * It also refuses steps that break the contract: tables that do not fit, blocks written by one request and seen by
 * another, positions read before they were written, rows that go on between layers with what is not theirs.
 */
export class FakeRunner implements StepRunner {
  readonly steps: (readonly StepSequence[])[] = [];
  copies = 0;
  closed = false;
  readonly layers: number | undefined;
  /** Time that steps took: 1 each, and so much more for a row of a prompt. */
  seconds = 0;
  private readonly options: FakeRunnerOptions;
  private readonly store: Uint32Array;
  private readonly written: Uint8Array;
  private running = false;

  constructor(options: FakeRunnerOptions) {
    this.options = options;
    this.layers = options.layers;
    this.store = new Uint32Array(options.blocks * options.blockSize);
    this.written = new Uint8Array(this.store.length);
  }

  async step(sequences: readonly StepSequence[]): Promise<RunnerOutput> {
    if (this.running) throw new Error("a step is running already");
    if (this.closed) throw new Error("a step after close");
    this.running = true;
    this.steps.push(sequences);
    try {
      await this.options.beforeStep?.(sequences, this.steps.length - 1);
      await eventLoopTurn();
      this.checkOwnership(sequences);
      this.checkTail(sequences);
      // Last sequence first: what a step writes must not matter to the step's other sequences.
      const sampled = sequences.toReversed().map((sequence) => sampleRows(sequence, this.run(sequence)));
      this.seconds += 1 + SECONDS_OF_ROW * this.promptRows(sequences);
      const hidden = this.stopBetweenLayers(sequences);
      const traffic = { scoreBytes: 1, gatherBytes: 2, denseBytes: 3, denseEquivalentBytes: 4 };
      return { sampled: sampled.reverse(), hidden, traffic };
    } finally {
      this.running = false;
    }
  }

  copyBlock(from: number, to: number): void {
    if (this.running) throw new Error("a copy while a step runs");
    const { blockSize } = this.options;
    for (const values of [this.store, this.written]) {
      values.copyWithin(to * blockSize, from * blockSize, (from + 1) * blockSize);
    }
    this.copies += 1;
  }

  close(): void {
    if (this.running) throw new Error("closed while a step runs");
    this.closed = true;
  }

  private promptRows(sequences: readonly StepSequence[]): number {
    const prompts = sequences.filter(({ contextLength, denseUntil }) => contextLength < denseUntil);
    return prompts.reduce((sum, { tokenIds, layers }) => {
      return sum + tokenIds.length * (layers === undefined ? 1 : (layers.end - layers.begin) / this.layers!);
    }, 0);
  }

  /** What rows between layers go on with; what they have left in the store by then is of no use to others. */
  private stopBetweenLayers(sequences: readonly StepSequence[]): (Float32Array | undefined)[] {
    return sequences.map((sequence) => {
      const { layers, contextLength, tokenIds } = sequence;
      if (layers === undefined || layers.end === this.layers) return undefined;
      const left = stateOf(sequence, layers.end);
      for (const i of tokenIds.keys()) this.leave(sequence, contextLength + i, left[i]!);
      return left;
    });
  }

  private checkTail(sequences: readonly StepSequence[]): void {
    const first = sequences.findIndex(({ layers }) => layers !== undefined);
    if (first < 0) return;
    const tail = sequences.slice(first);
    if (first === 0) throw new Error("all of a step's sequences stop between layers");
    for (const sequence of tail) {
      const { layers, contextLength, logits } = sequence;
      const { begin, end, hidden } = layers ?? {};
      if (begin !== tail[0]!.layers!.begin || end !== tail[0]!.layers!.end)
        throw new Error("a tail of different layers");
      if (!(begin! >= 0 && begin! < end! && end! <= this.layers!)) throw new Error(`layers ${begin} to ${end}`);
      if (end! < this.layers! && logits !== "none") throw new Error("logits of rows between layers");
      if (begin === 0) continue;
      const expected = stateOf(sequence, begin!);
      if (hidden?.join() !== expected.join()) throw new Error("rows go on with what is not theirs");
      for (const [i, value] of expected.entries()) {
        if (this.store[this.slotOf(sequence, contextLength + i)] !== value)
          throw new Error("a block was used meanwhile");
      }
    }
  }

  private leave(sequence: StepSequence, position: number, value: number): void {
    const slot = this.slotOf(sequence, position);
    this.store[slot] = value;
    this.written[slot] = 0;
  }

  private slotOf({ blockTable }: StepSequence, position: number): number {
    const { blockSize, blocks } = this.options;
    const block = blockTable[Math.floor(position / blockSize)]!;
    if (!(block >= 0 && block < blocks)) throw new Error(`block ${block} is outside the store`);
    return block * blockSize + (position % blockSize);
  }

  private run(sequence: StepSequence): Float32Array[] {
    const { tokenIds, contextLength, blockTable, attention, denseUntil, logits, layers } = sequence;
    const { blockSize, vocabSize, habit = 0 } = this.options;
    if (tokenIds.length === 0) throw new Error("a sequence without rows");
    if (layers !== undefined && layers.end !== this.layers) return [];
    const length = contextLength + tokenIds.length;
    if (blockTable.length !== Math.ceil(length / blockSize)) {
      throw new Error(`a table of ${blockTable.length} blocks for ${length} positions`);
    }
    let history = 0;
    const rows: Float32Array[] = [];
    for (let position = 0; position < length; position++) {
      const slot = this.slotOf(sequence, position);
      if (position >= contextLength) {
        const token = tokenIds[position - contextLength]!;
        this.store[slot] = entryOf(history, token, position, denseUntil, attention);
        this.written[slot] = 1;
      } else if (this.written[slot] === 0) throw new Error(`position ${position} is read but was never written`);
      history = mix(history, this.store[slot]!);
      if (position >= contextLength && (logits === "all" || (logits === "last" && position === length - 1))) {
        rows.push(logitsOf(history, tokenIds[position - contextLength]!, vocabSize, habit));
      }
    }
    return rows;
  }

  /** A block that a sequence writes in must be in no other table of the step. */
  private checkOwnership(sequences: readonly StepSequence[]): void {
    const holders = new Map<number, number>();
    for (const block of sequences.flatMap(({ blockTable }) => blockTable)) {
      holders.set(block, (holders.get(block) ?? 0) + 1);
    }
    for (const { blockTable, contextLength } of sequences) {
      for (const block of blockTable.slice(Math.floor(contextLength / this.options.blockSize))) {
        if (holders.get(block)! > 1) throw new Error(`block ${block} is written by one sequence and seen by another`);
      }
    }
  }
}

/** The log-probabilities of a prompt's own tokens after the first, computed alike. */
export function scoreAlone(
  { promptIds, attention }: GenerateRequest,
  vocabSize: number,
  top: number,
  habit = 0,
): EventLogprobs[] {
  const sampler = new Sampler(vocabSize);
  let history = 0;
  return promptIds.slice(1).map((token, position) => {
    history = mix(history, entryOf(history, promptIds[position]!, position, promptIds.length, attention));
    const logits = logitsOf(history, promptIds[position]!, vocabSize, habit);
    const row = sampler.sample(logits, { ...greedySampling, token, logprobs: top });
    return { logprob: row.logprob, top: row.top };
  });
}

/** The tokens that a request gets when nothing else runs, computed without blocks, steps or chunks. */
export function generateAlone(request: GenerateRequest, vocabSize: number, maxPositions: number, habit = 0): number[] {
  const { promptIds, sampling, attention } = request;
  const sampler = new Sampler(vocabSize);
  const random = new RandomStream(sampling.seed);
  const rows = new RowSettings(sampling, promptIds);
  const tokens = [...promptIds];
  let history = 0;
  const generated: number[] = [];
  const limit = Math.min(sampling.maxTokens, maxPositions - promptIds.length);
  for (let position = 0; generated.length < limit; position++) {
    history = mix(history, entryOf(history, tokens[position]!, position, promptIds.length, attention));
    if (position < promptIds.length - 1) continue;
    const row = rows.next(random.uniform(generated.length));
    const { tokenId: token } = sampler.sample(logitsOf(history, tokens[position]!, vocabSize, habit), row);
    rows.count(token);
    tokens.push(token);
    generated.push(token);
  }
  return generated;
}
