import { loadAddon } from "../../attention/binding.ts";
import { openSession, type Session } from "../../attention/session.ts";
import type { AttentionSettings, KvStoreShape, StepSequence } from "../../attention/types.ts";
import type { PreparedModel } from "../../models/types.ts";
import { version } from "../../server/version.ts";
import { served } from "../attention.ts";
import { type DecodeRound, type System, stepsOf } from "./system.ts";

export interface SparqOptions {
  readonly model: PreparedModel;
  readonly threads: number;
  readonly attention: AttentionSettings;
  readonly cache: Required<Pick<KvStoreShape, "dtype" | "scanDtype">>;
}

const PREFILL_CHUNK = 512;

/** Sparq in this process, as a server decodes by default and with dense attention. */
export class SparqSystem implements System {
  readonly name = "sparq";
  readonly variants = ["default", "dense"];
  readonly versions: Readonly<Record<string, string>>;
  readonly vocabSize: number;
  readonly layers: number;
  /** Bytes of the cache for one block, and its positions. */
  readonly bytesPerBlock: number;
  readonly blockSize: number;
  private readonly options: SparqOptions;
  private readonly probe: Session;
  private session: Session | undefined;
  /** Blocks from 0 on that are filled, and never decoded into. */
  private sources = 0;
  /** Blocks of each sequence, behind those. */
  private blocksEach = 0;
  private sequences = 0;
  /** What stands in the sources. */
  private filled: readonly number[] = [];

  private constructor(options: SparqOptions, probe: Session) {
    this.options = options;
    this.probe = probe;
    this.bytesPerBlock = probe.store.bytesPerBlock;
    this.blockSize = probe.blockSize;
    this.vocabSize = options.model.config.vocabSize;
    this.layers = options.model.config.layers;
    const isa = loadAddon().defaultPath();
    this.versions = { sparq: version, kernels: isa, onnxruntime: probe.session.runtimeVersion };
  }

  /** Loads the model with a cache of `checked` positions, enough for `check`. */
  static async load(options: SparqOptions, checked: number): Promise<SparqSystem> {
    return new SparqSystem(options, await openFor(options, Math.ceil(checked / 64)));
  }

  async check(prompt: readonly number[]): Promise<readonly number[]> {
    const blockTable = firstBlocks(0, prompt.length, this.blockSize);
    const { logits } = await this.probe.step([
      { ...this.rows("dense", prompt.length), tokenIds: prompt, contextLength: 0, blockTable, logits: "all" },
    ]);
    const vocab = this.vocabSize;
    return prompt.map((_, row) => argmax(logits[0]!.subarray(row * vocab, (row + 1) * vocab)));
  }

  /** A store that is large enough stays, with what was filled. */
  async open(positions: number, sequences: number): Promise<void> {
    this.blocksEach = Math.ceil(positions / this.blockSize);
    this.sequences = sequences;
    const sources = Math.max(this.sources, this.blocksEach);
    if (this.session !== undefined && this.session.blocks >= sources + sequences * this.blocksEach) {
      this.sources = sources;
      return;
    }
    this.session?.close();
    this.session = undefined;
    this.filled = [];
    this.sources = this.blocksEach;
    this.session = await openFor(this.options, (1 + sequences) * this.blocksEach);
  }

  async fill(tokens: readonly number[]): Promise<number> {
    const session = this.session!;
    let seconds = 0;
    for (let start = 0; start < tokens.length; start += PREFILL_CHUNK) {
      const tokenIds = tokens.slice(start, start + PREFILL_CHUNK);
      const end = start + tokenIds.length;
      const step = await session.step([
        {
          ...this.rows("dense", tokens.length),
          tokenIds,
          contextLength: start,
          blockTable: firstBlocks(0, end, this.blockSize),
          logits: end === tokens.length ? "last" : "none",
        },
      ]);
      seconds += step.seconds;
    }
    this.filled = tokens;
    this.copyAll(tokens.length);
    return seconds;
  }

  async refill(tokens: readonly number[]): Promise<void> {
    if (this.filled.length >= tokens.length && tokens.every((token, i) => token === this.filled[i])) {
      this.copyAll(tokens.length);
    } else await this.fill(tokens);
  }

  async decode(round: DecodeRound): Promise<readonly number[]> {
    const { variant, context, batch, tokens } = round;
    const session = this.session!;
    const milliseconds: number[] = [];
    for (let step = 0; step < stepsOf(round); step++) {
      const sequences = Array.from({ length: batch }, (_, i): StepSequence => {
        const blockTable = firstBlocks(this.firstOf(i), context + step + 1, this.blockSize);
        const tokenIds = [tokens[step * batch + i]!];
        const { attention: settings, denseUntil } = this.rows(variant, context);
        const contextLength = context + step;
        const { attention } = served(settings, contextLength);
        return { attention, denseUntil, tokenIds, contextLength, blockTable, logits: "last" };
      });
      const { seconds, logits } = await session.step(sequences);
      milliseconds.push(seconds * 1000);
      for (const row of logits) argmax(row);
    }
    this.rewind(context, batch);
    return milliseconds;
  }

  async cpuSeconds(): Promise<number> {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  }

  close(): void {
    this.probe.close();
    this.session?.close();
  }

  /** Every sequence gets the filled blocks' content in blocks of its own. */
  private copyAll(positions: number): void {
    for (let sequence = 0; sequence < this.sequences; sequence++) {
      for (const block of firstBlocks(0, positions, this.blockSize)) {
        this.session!.store.copyBlock(block, this.firstOf(sequence) + block);
      }
    }
  }

  private firstOf(sequence: number): number {
    return this.sources + sequence * this.blocksEach;
  }

  /** A page that decoding began itself is begun anew next time; the one that prefill began must become what it was. */
  private rewind(context: number, batch: number): void {
    if (context % this.blockSize === 0) return;
    const page = this.lastPage(context);
    for (let i = 0; i < batch; i++) this.session!.store.copyBlock(page, this.firstOf(i) + page);
  }

  private lastPage(context: number): number {
    return Math.floor(context / this.blockSize);
  }

  private rows(variant: string, denseUntil: number) {
    const mode = variant === "dense" ? ("dense" as const) : ("sparq" as const);
    return { attention: { ...this.options.attention, mode }, denseUntil };
  }
}

function openFor({ model, threads, cache }: SparqOptions, blocks: number): Promise<Session> {
  return openSession({ graphPath: model.graphPath, config: model.config, blocks, threads, ...cache });
}

function firstBlocks(first: number, positions: number, blockSize: number): number[] {
  return Array.from({ length: Math.ceil(positions / blockSize) }, (_, block) => first + block);
}

/** Throws for a logit that is not finite. */
function argmax(logits: Float32Array): number {
  let best = 0;
  for (let i = 0; i < logits.length; i++) {
    if (!Number.isFinite(logits[i])) throw new Error(`sparq's logit of token ${i} is ${logits[i]}`);
    if (logits[i]! > logits[best]!) best = i;
  }
  return best;
}
