import type { Sequence } from "./sequence.ts";
import { rowsOf, type Share } from "./share.ts";

/** Rows of a chunk: with fewer, reading keys and values is what they take; with more, others wait longer until it is their turn. */
const LEAST_ROWS = 16;
const MOST_ROWS = 64;

/**
 * Rows of prompts that go through a model's layers in several steps, some layers in each, beside rows that decode. What a step
 * has to spare is often less than one row of a long prompt takes, since a row reads the keys and values of all positions before
 * it; but many rows read a layer's together, in hardly more time than one. So a step that can spare the time of two rows runs 48
 * through a twenty-fourth of the layers instead: as fine a measure, and each row costs what it does in a large chunk.
 */
export class LayeredPrefill {
  private readonly layers: number;
  /** Rows that are between layers, and the first one that they have not gone through. */
  private parked: { readonly shares: readonly Share[]; readonly layer: number } | null = null;

  constructor(layers: number) {
    this.layers = layers;
  }

  /** What is on its way; none if nothing is. */
  get shares(): readonly Share[] {
    return this.parked?.shares ?? [];
  }

  /** Rows for a new chunk where a step may take the time of `allowed` rows: as many as that is in one layer, or in a few. */
  chunkRows(allowed: number): number {
    const rowsOfLayers = allowed * this.layers;
    return Math.max(LEAST_ROWS, Math.floor(rowsOfLayers / Math.ceil(rowsOfLayers / MOST_ROWS)));
  }

  /** A new chunk's part of a step that may take the time of `allowed` rows through all layers: one layer at least. */
  begin(shares: readonly Share[], allowed: number): Share[] {
    return this.part(shares, 0, allowed);
  }

  /** The same of the chunk that is on its way. */
  goOn(allowed: number): Share[] {
    return this.parked === null ? [] : this.part(this.parked.shares, this.parked.layer, allowed);
  }

  /** Whether the share's rows are between layers after its step. */
  stops({ layers }: Share): boolean {
    return layers !== undefined && layers.end !== this.layers;
  }

  /** Takes in a step. Mutates. */
  commit(steps: readonly Share[]): void {
    const shares = steps.filter((share) => this.stops(share));
    if (shares.length > 0) this.parked = { shares, layer: shares[0]!.layers!.end };
    else if (steps.some(({ layers }) => layers !== undefined)) this.parked = null;
  }

  /** What a sequence has half done is void. Mutates. */
  leave(sequence: Sequence): void {
    const shares = this.shares.filter((share) => share.sequence !== sequence);
    if (shares.length < this.shares.length) this.parked = shares.length === 0 ? null : { ...this.parked!, shares };
  }

  /** All of it is void. Mutates. */
  clear(): void {
    this.parked = null;
  }

  private part(shares: readonly Share[], layer: number, allowed: number): Share[] {
    // Measurements waver: hardly less than n layers are n.
    const most = Math.floor((allowed * this.layers) / rowsOf(shares) + 0.25);
    const end = Math.min(this.layers, layer + Math.max(1, most));
    if (layer === 0 && end === this.layers) return [...shares];
    return shares.map((share) => ({ ...share, layers: { begin: layer, end } }));
  }
}
