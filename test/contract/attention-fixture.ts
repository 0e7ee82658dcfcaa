import { expect } from "vitest";
import { packSettings } from "../../attention/pack.ts";
import { referenceAttend } from "../../attention/reference.ts";
import { ReferenceStore } from "../../attention/reference-store.ts";
import type {
  AttendInput,
  AttendOutput,
  AttentionSettings,
  KvStoreShape,
  NativeKvStore,
} from "../../attention/types.ts";

/** What the contract is checked on: the reference, or the addon on one of its paths. */
export interface AttentionImplementation<Store extends NativeKvStore = NativeKvStore> {
  readonly name: string;
  /** Thread counts worth a test. */
  readonly threads: readonly number[];
  createStore(shape: KvStoreShape): Store;
  attend(store: Store, threads: number, input: AttendInput): AttendOutput;
}

export const referenceImplementation: AttentionImplementation<ReferenceStore> = {
  name: "reference",
  threads: [1],
  createStore: (shape) => new ReferenceStore(shape),
  attend: (store, _threads, input) => referenceAttend(store, input),
};

/** A block table of `count` blocks in no particular order. */
export const blocks = (count: number) => Array.from({ length: count }, (_, i) => (i * 5 + 3) % count);

/** One layer: everything of AttendInput that does not change from step to step. */
export type Layer = Omit<
  AttendInput,
  "qkv" | "rowStarts" | "contextLengths" | "blockTables" | "blockTableStarts" | "settings"
>;

export function layerOf(heads: number, kvHeads: number, headDim: number, more: Partial<Layer> = {}): Layer {
  const rotaryDim = more.rotaryDim ?? headDim;
  const frequencies = Array.from({ length: rotaryDim / 2 }, (_, i) => 10_000 ** ((-2 * i) / rotaryDim));
  return {
    layer: 1,
    heads,
    kvHeads,
    headDim,
    scale: Math.fround(1 / Math.sqrt(headDim)),
    window: 0,
    rotaryDim,
    interleaved: false,
    inverseFrequencies: Float32Array.from(frequencies),
    ropeScale: 1,
    ...more,
  };
}

export const dense: AttentionSettings = { mode: "dense", r: 1, k: 1, local: 0, meanValue: false, groupSum: "softmax" };

export function sparq(r: number, k: number, local: number, more: Partial<AttentionSettings> = {}): AttentionSettings {
  return { mode: "sparq", r, k, local, meanValue: true, groupSum: "softmax", ...more };
}

/** A seeded generator of numbers in (0, 1): mulberry32. */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return (((x ^ (x >>> 14)) >>> 0) + 0.5) / 2 ** 32;
  };
}

export type Fill = (position: number, part: "q" | "k" | "v", head: number, component: number) => number;

/** Queries, keys and values from a normal distribution. */
export function normal(seed: number): Fill {
  const random = seeded(seed);
  return () => Math.sqrt(-2 * Math.log(random())) * Math.cos(2 * Math.PI * random());
}

/** Projections of `length` positions: [length][(heads + 2 kvHeads) * headDim]. */
export function projections(layer: Layer, length: number, fill: Fill): Float32Array[] {
  const { heads, kvHeads, headDim } = layer;
  return Array.from({ length }, (_, position) =>
    Float32Array.from({ length: (heads + 2 * kvHeads) * headDim }, (_, i) => {
      const [column, component] = [Math.floor(i / headDim), i % headDim];
      if (column < heads) return fill(position, "q", column, component);
      if (column < heads + kvHeads) return fill(position, "k", column - heads, component);
      return fill(position, "v", column - heads - kvHeads, component);
    }),
  );
}

export interface SequenceOptions {
  readonly rows: readonly Float32Array[];
  readonly blockTable: readonly number[];
  readonly settings: AttentionSettings;
  /** Rows from here on may attend sparsely; 0 unless said. */
  readonly denseUntil?: number;
  readonly contextLength?: number;
}

/** A sequence as it grows in a store: what came out so far, by position. */
export class TestSequence {
  readonly options: SequenceOptions;
  readonly out: Float32Array[] = [];
  readonly margins: number[] = [];
  contextLength: number;

  constructor(options: SequenceOptions) {
    this.options = options;
    this.contextLength = options.contextLength ?? 0;
  }
}

export type StoreTypes = Pick<KvStoreShape, "dtype" | "scanDtype" | "trackMass">;

/** A store of an implementation with one layer's worth of attention on it. Blocks hold 64 positions. */
export class Bench<Store extends NativeKvStore = NativeKvStore> {
  readonly implementation: AttentionImplementation<Store>;
  readonly layer: Layer;
  readonly store: Store;

  constructor(implementation: AttentionImplementation<Store>, layer: Layer, blocks: number, types: StoreTypes = {}) {
    this.implementation = implementation;
    this.layer = layer;
    this.store = implementation.createStore({
      layers: 2,
      kvHeads: layer.kvHeads,
      headDim: layer.headDim,
      blockSize: 64,
      blocks,
      ...types,
    });
  }

  /** Runs the next `count` positions of each sequence, all in one step. */
  step(parts: readonly (readonly [TestSequence, number])[], threads = 1, observe = false): AttendOutput {
    const rows = parts.flatMap(([s, count]) => s.options.rows.slice(s.contextLength, s.contextLength + count));
    const starts = (lengths: number[]) => {
      let total = 0;
      return Int32Array.from([0, ...lengths.map((length) => (total += length))]);
    };
    const width = rows[0]!.length;
    const qkv = new Float32Array(rows.length * width);
    for (const [i, row] of rows.entries()) qkv.set(row, i * width);
    const output: AttendOutput & { margins?: Float64Array } = this.implementation.attend(this.store, threads, {
      ...this.layer,
      qkv,
      rowStarts: starts(parts.map(([, count]) => count)),
      contextLengths: Int32Array.from(parts, ([s]) => s.contextLength),
      blockTables: Int32Array.from(parts.flatMap(([s]) => s.options.blockTable)),
      blockTableStarts: starts(parts.map(([s]) => s.options.blockTable.length)),
      settings: Int32Array.from(
        parts.flatMap(([s]) => packSettings({ attention: s.options.settings, denseUntil: s.options.denseUntil ?? 0 })),
      ),
      observe,
    });
    const outWidth = this.layer.heads * this.layer.headDim;
    let row = 0;
    for (const [sequence, count] of parts) {
      for (let i = 0; i < count; i++, row++) {
        sequence.out.push(output.out.slice(row * outWidth, (row + 1) * outWidth));
        sequence.margins.push(output.margins?.[row] ?? Number.POSITIVE_INFINITY);
      }
      sequence.contextLength += count;
    }
    return output;
  }

  /** A sequence run to its end: the first `prompt` positions in one step, then one by one. */
  run(options: SequenceOptions, prompt: number, threads = 1): TestSequence {
    const sequence = new TestSequence({ denseUntil: prompt, ...options });
    if (prompt > sequence.contextLength) this.step([[sequence, prompt - sequence.contextLength]], threads);
    while (sequence.contextLength < options.rows.length) this.step([[sequence, 1]], threads);
    return sequence;
  }
}

/**
 * Where the chosen and the left-out score are closer than this, relative to the largest, float32 may rightly choose
 * otherwise than float64: such rows are not compared.
 */
const NEAR_TIE = 1e-5;

/** `actual` equals what the reference computed, within `tolerance`; at most one row in twenty may be left out as a near tie. */
export function expectClose(actual: TestSequence, expected: TestSequence, tolerance = 1e-5): void {
  expect(actual.out.length).toBe(expected.out.length);
  let compared = 0;
  for (const [i, row] of expected.out.entries()) {
    if (expected.margins[i]! < NEAR_TIE) continue;
    compared++;
    const largest = row.reduce((most, x, c) => Math.max(most, Math.abs(x - actual.out[i]![c]!)), 0);
    expect(largest, `largest difference of row ${i}`).toBeLessThanOrEqual(tolerance);
  }
  expect(compared).toBeGreaterThanOrEqual(0.95 * expected.out.length);
}

/** Bit for bit; NaN equals NaN of the same bits. */
export function expectSame(actual: readonly Float32Array[], expected: readonly Float32Array[]): void {
  expect(actual.length).toBe(expected.length);
  const bytes = (row: Float32Array) => Buffer.from(row.buffer, row.byteOffset, row.byteLength);
  for (const [i, row] of expected.entries()) {
    expect(bytes(actual[i]!).equals(bytes(row)), `row ${i} has the same bits`).toBe(true);
  }
}
