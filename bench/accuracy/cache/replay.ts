import { openSession, type Session } from "../../../attention/session.ts";
import type { AttentionSettings } from "../../../attention/types.ts";
import type { PreparedModel } from "../../../models/types.ts";
import type { Layout } from "./variants.ts";

const PREFILL_CHUNK = 512;

export interface Replayed {
  readonly logits: Float32Array; // [rows, vocabSize]
  /** Bytes of the cache that attention of these rows read. */
  readonly bytes: number;
  /** What dense attention would have read of the same cache. */
  readonly denseBytes: number;
}

/**
 * One way to keep the cache: a passage is prefilled once, densely as in a server, and its last rows are decoded again and
 * again, each time with other settings.
 */
export class Replay {
  readonly session: Session;
  private readonly context: number;
  private readonly rows: number;

  private constructor(session: Session, context: number, rows: number) {
    this.session = session;
    this.context = context;
    this.rows = rows;
  }

  static async open(model: PreparedModel, layout: Layout, sizes: Sizes): Promise<Replay> {
    const { context, rows, threads } = sizes;
    const { config, graphPath } = model;
    // One block more, for what the page held that the rows begin in the middle of.
    const blocks = Math.ceil(context / layout.blockSize) + 1;
    const own = threads === undefined ? {} : { threads };
    // Many sessions are open, and one computes.
    const session = await openSession({ graphPath, config, blocks, ...layout, ...own, spinning: false });
    return new Replay(session, context, rows);
  }

  /** Fills the cache with all of `tokens` but the rows to be decoded. */
  async prefill(tokens: readonly number[], dense: AttentionSettings): Promise<void> {
    const end = this.context - this.rows;
    for (let start = 0; start < end; start += PREFILL_CHUNK) {
      const tokenIds = tokens.slice(start, Math.min(start + PREFILL_CHUNK, end));
      await this.run(tokenIds, start, dense, "none");
    }
    const { store, blocks } = this.session;
    store.copyBlock(this.pageOfRows, blocks - 1);
  }

  /** Decodes the rows, each with the tokens before it in the cache. */
  async decode(tokens: readonly number[], attention: AttentionSettings): Promise<Replayed> {
    const { store, blocks } = this.session;
    const start = this.context - this.rows;
    // Sums and ranges of a page run on from the row before.
    store.copyBlock(blocks - 1, this.pageOfRows);
    const { logits, traffic } = await this.run(tokens.slice(start, this.context), start, attention, "all");
    const bytes = traffic.scoreBytes + traffic.gatherBytes + traffic.denseBytes;
    return { logits: logits[0]!, bytes, denseBytes: traffic.denseEquivalentBytes };
  }

  close(): void {
    this.session.close();
  }

  private get pageOfRows(): number {
    return Math.floor((this.context - this.rows) / this.session.blockSize);
  }

  /** Rows from the first decoded one on are computed one by one, as a server's decode steps are, also within one step. */
  private run(
    tokenIds: readonly number[],
    contextLength: number,
    attention: AttentionSettings,
    logits: "none" | "all",
  ) {
    const pages = Math.ceil((contextLength + tokenIds.length) / this.session.blockSize);
    const blockTable = Array.from({ length: pages }, (_, page) => page);
    const denseUntil = this.context - this.rows;
    return this.session.step([{ tokenIds, contextLength, blockTable, attention, denseUntil, logits }]);
  }
}

export interface Sizes {
  readonly context: number;
  readonly rows: number;
  readonly threads?: number | undefined;
}
