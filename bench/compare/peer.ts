import type { ModelConfig, PreparedModel } from "../../models/types.ts";
import type { System } from "./system.ts";

export interface PeerContext {
  readonly model: PreparedModel;
  readonly threads: number;
  /** The folder of the same weights in other formats, if it is not the one for the model in the cache folder. */
  readonly exported?: string;
  /** The interpreter whose packages the peers in Python use. */
  readonly python: string;
  /** Folder where filled caches stay for later runs; without it none do. */
  readonly kept?: string;
}

/** Why a peer cannot be measured here: it is skipped, and this is said. */
export class PeerMissing extends Error {
  override readonly name = "PeerMissing";
}

/** Bytes of keys and values, for one position. */
export interface PeerMemory {
  /** For each of the cache's positions, from opening to the end. */
  readonly held: (request: MemoryOf) => number;
  /** More than that while a batch is decoded. */
  readonly transient: (request: MemoryOf) => number;
}

export interface MemoryOf {
  readonly config: ModelConfig;
  /** Of a sequence, those that decoding adds included. */
  readonly positions: number;
  readonly batch: number;
}

/** A program to compare with. */
export interface Peer {
  readonly name: string;
  readonly memory: PeerMemory;
  /** Starts it with the model loaded. Throws PeerMissing where it or its format of the model is not there, Error where it fails. */
  start(context: PeerContext): Promise<System>;
}

/** Keys and values of one position in `bytes` each, all layers. */
export function bytesPerPosition({ layers, kvHeads, headDim }: ModelConfig, bytes: number): number {
  return layers * kvHeads * headDim * 2 * bytes;
}
