import { setTimeout as rest } from "node:timers/promises";
import { BLOCK_SIZE, bytesPerBlock, openSession, type Session } from "../../attention/session.ts";
import type { PreparedModel } from "../../models/types.ts";
import { sizeCache } from "../../server/resources.ts";
import { type CacheLayout, layoutKey, type Variant } from "../eval/variants.ts";

/** Idle threads spin for a while; another session is not timed before they rest. */
const REST_MS = 200;

export interface StoreOptions {
  readonly model: PreparedModel;
  readonly threads?: number;
  /** Sequences at the same time, at most. */
  readonly batch: number;
  /** Of all caches together. */
  readonly megabytes?: number;
}

/** A session for each way to keep a cache, all of the same size in bytes, which variants of that layout share in turn. */
export class Stores {
  private readonly sessions: ReadonlyMap<string, Session>;
  private last: Session | undefined;

  private constructor(sessions: ReadonlyMap<string, Session>) {
    this.sessions = sessions;
  }

  /** As large as a server's would be, divided among the layouts. Throws Error if there is no room for a block. */
  static async open(variants: readonly Variant[], { model, threads, batch, megabytes }: StoreOptions): Promise<Stores> {
    const { config, graphPath } = model;
    const layouts = new Map(variants.map(({ layout }) => [layoutKey(layout), layout]));
    const free = process.availableMemory() / layouts.size;
    const sessions = new Map<string, Session>();
    const blocksOf = (layout: CacheLayout) =>
      sizeCache({
        bytesPerBlock: bytesPerBlock(config, layout),
        blockSize: BLOCK_SIZE,
        contextLimit: config.maxPositions,
        maxRunning: batch,
        megabytes: megabytes === undefined ? undefined : megabytes / layouts.size,
        freeBytes: free,
      }).blocks;
    try {
      for (const [key, layout] of layouts) {
        const own = threads === undefined ? {} : { threads };
        sessions.set(key, await openSession({ graphPath, config, blocks: blocksOf(layout), ...layout, ...own }));
      }
      return new Stores(sessions);
    } catch (error) {
      for (const session of sessions.values()) session.close();
      throw error;
    }
  }

  /** The variant's, once the threads of the one that ran before rest. */
  async of({ layout }: Variant): Promise<Session> {
    const session = this.sessions.get(layoutKey(layout))!;
    if (this.last !== undefined && this.last !== session) await rest(REST_MS);
    this.last = session;
    return session;
  }

  /** That the smallest cache holds. */
  get positions(): number {
    return BLOCK_SIZE * Math.min(...[...this.sessions.values()].map(({ blocks }) => blocks));
  }

  get threads(): number {
    return this.first.threads;
  }

  get runtimeVersion(): string {
    return this.first.session.runtimeVersion;
  }

  /** What a record says of them: blocks and bytes by layout. */
  describe(): Readonly<Record<string, { readonly blocks: number; readonly megabytes: number }>> {
    const entries = [...this.sessions].map(([key, { blocks, store }]) => {
      return [key, { blocks, megabytes: Math.round(store.bytes / 2 ** 20) }] as const;
    });
    return Object.fromEntries(entries);
  }

  close(): void {
    for (const session of this.sessions.values()) session.close();
  }

  private get first(): Session {
    return [...this.sessions.values()][0]!;
  }
}
