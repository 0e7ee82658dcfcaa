import { ReferenceMass } from "./reference-mass.ts";
import type { KvStoreShape, NativeKvStore } from "./types.ts";

/** What the cache holds of one position and KV head: [headDim] each, the key after rope. */
export interface Cell {
  readonly key: Float64Array;
  readonly value: Float64Array;
}

/**
 * The reference's paged store, in float64. The native store also keeps keys by component and sums of V, which change
 * nothing but speed.
 */
export class ReferenceStore implements NativeKvStore {
  readonly shape: KvStoreShape;
  readonly bytesPerBlock: number;
  readonly bytes: number;
  readonly mass?: ReferenceMass;
  readonly #cells: Cell[] = [];

  constructor(shape: KvStoreShape) {
    this.shape = shape;
    this.bytesPerBlock = 2 * 8 * shape.layers * shape.kvHeads * shape.blockSize * shape.headDim;
    this.bytes = this.bytesPerBlock * shape.blocks;
    if (shape.trackMass) this.mass = new ReferenceMass(shape.kvHeads);
  }

  /** The cell itself, to read or to write; zeros before it was written. */
  at(layer: number, block: number, head: number, slot: number): Cell {
    const { blocks, kvHeads, blockSize, headDim } = this.shape;
    const index = ((layer * blocks + block) * kvHeads + head) * blockSize + slot;
    this.#cells[index] ??= { key: new Float64Array(headDim), value: new Float64Array(headDim) };
    return this.#cells[index];
  }

  copyBlock(from: number, to: number): void {
    const { layers, kvHeads, blockSize } = this.shape;
    for (let layer = 0; layer < layers; layer++) {
      for (let head = 0; head < kvHeads; head++) {
        for (let slot = 0; slot < blockSize; slot++) {
          const [source, target] = [this.at(layer, from, head, slot), this.at(layer, to, head, slot)];
          target.key.set(source.key);
          target.value.set(source.value);
        }
      }
    }
  }

  close(): void {}
}
