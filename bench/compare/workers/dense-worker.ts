import type { Tensor } from "onnxruntime-node";
import { forBatch, int64, type Past, repeatedTo } from "./tensors.ts";
import { likeliest, type Worker, type WorkerRound } from "./worker.ts";

/** A model whose keys and values go in and come out as tensors. */
export interface Decoder {
  readonly versions: Readonly<Record<string, string>>;
  readonly vocabSize: number;
  readonly layers: number;
  /** Runs new tokens, [batch, new], behind those of `past`; logits are [batch, new, vocabSize]. */
  run(feeds: Feeds): Promise<{ readonly logits: Tensor; readonly past: Past }>;
}

export interface Feeds {
  readonly inputIds: Tensor;
  /** Ones, [batch, past and new]. */
  readonly attentionMask: Tensor;
  readonly positionIds: Tensor;
  /** Empty at first. */
  readonly past: Past;
}

const CHUNK = 512;

/**
 * Keeps one sequence's keys and values between rounds and repeats them for the batch before a round begins: so memory for a
 * batch is taken only while it is this program's turn, and what is decoded is taken back by being dropped.
 */
export class DenseWorker implements Worker {
  readonly versions: Readonly<Record<string, string>>;
  readonly vocabSize: number;
  readonly layers: number;
  private readonly decoder: Decoder;
  private past: Past = new Map();

  constructor(decoder: Decoder) {
    this.decoder = decoder;
    this.versions = decoder.versions;
    this.vocabSize = decoder.vocabSize;
    this.layers = decoder.layers;
  }

  async check({ prompt }: { readonly prompt: readonly number[] }) {
    const { logits } = await this.step(prompt, 1, 0, new Map());
    return likeliest(logits.data as Float32Array, this.vocabSize);
  }

  async open() {
    this.past = new Map();
    return {};
  }

  async fill({ tokens }: { readonly tokens: readonly number[] }) {
    const started = performance.now();
    this.past = await this.prefill(tokens);
    return { seconds: (performance.now() - started) / 1000 };
  }

  async refill({ tokens }: { readonly tokens: readonly number[] }) {
    this.past = repeatedTo(await this.prefill(tokens.slice(0, CHUNK)), tokens.length);
    return {};
  }

  async decode(round: WorkerRound) {
    const result = await this.timed(round);
    // Nothing refers to the batch's keys and values any more.
    await collectGarbage();
    return result;
  }

  private async timed({ context, batch, steps, tokens }: WorkerRound) {
    const milliseconds: number[] = [];
    let finite = true;
    let past: Past = forBatch(this.past, batch);
    for (let step = 0; step < steps; step++) {
      // What the last step left is gone before the next begins, not in its midst.
      await collectGarbage();
      const ids = tokens.slice(step * batch, (step + 1) * batch);
      const started = performance.now();
      const output = await this.step(ids, batch, context + step, past);
      milliseconds.push(performance.now() - started);
      finite &&= likeliest(output.logits.data as Float32Array, this.vocabSize).finite;
      past = output.past;
    }
    return { milliseconds, finite };
  }

  private async prefill(tokens: readonly number[]): Promise<Past> {
    let past: Past = new Map();
    for (let start = 0; start < tokens.length; start += CHUNK) {
      ({ past } = await this.step(tokens.slice(start, start + CHUNK), 1, start, past));
    }
    return past;
  }

  /** `ids`: [batch, new], behind `before` positions. */
  private step(ids: readonly number[], batch: number, before: number, past: Past) {
    const rows = ids.length / batch;
    return this.decoder.run({
      inputIds: int64(ids, batch),
      attentionMask: int64(new Array(batch * (before + rows)).fill(1), batch),
      positionIds: int64(
        ids.map((_, i) => before + (i % rows)),
        batch,
      ),
      past,
    });
  }
}

/** With --expose-gc. Native memory behind tensors is given back by what runs after the event loop's turn. */
async function collectGarbage(): Promise<void> {
  globalThis.gc?.();
  await new Promise((resolve) => setImmediate(resolve));
}
