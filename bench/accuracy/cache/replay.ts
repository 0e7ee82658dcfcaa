import { attentionAt } from "../../../attention/at-context.ts";
import { openSession, type Session } from "../../../attention/session.ts";
import type { AttentionSettings, Traffic } from "../../../attention/types.ts";
import type { PreparedModel } from "../../../models/types.ts";
import { addTraffic } from "../../../server/engine/step-report.ts";
import type { Layout } from "./variants.ts";

const PREFILL_CHUNK = 512;

export interface Replayed {
  readonly logits: Float32Array; // [rows, vocabSize]
  /** What attention of these rows read of the cache. */
  readonly traffic: Traffic;
}

/**
 * One way to keep the cache: a passage is prefilled once, densely as in a server, and its last rows are decoded again and
 * again, each time with other settings.
 */
export class Replay {
  readonly session: Session;
  private tokens: readonly number[] = [];
  private rows = 0;

  private constructor(session: Session) {
    this.session = session;
  }

  static async open(
    model: PreparedModel,
    layout: Layout,
    { context, threads, observe = false }: Sizes,
  ): Promise<Replay> {
    const { config, graphPath } = model;
    // One block more, for what the page held that the rows begin in the middle of.
    const blocks = Math.ceil(context / layout.blockSize) + 1;
    const own = threads === undefined ? {} : { threads };
    // Many sessions are open, and one computes.
    const session = await openSession({ graphPath, config, blocks, ...layout, ...own, observe, spinning: false });
    return new Replay(session);
  }

  /** Fills the cache with all of a passage but its last `rows`, which are to be decoded. */
  async prefill(tokens: readonly number[], rows: number, dense: AttentionSettings): Promise<void> {
    this.tokens = tokens;
    this.rows = rows;
    for (let start = 0; start < this.start; start += PREFILL_CHUNK) {
      const tokenIds = tokens.slice(start, Math.min(start + PREFILL_CHUNK, this.start));
      await this.run(tokenIds, start, dense, "none");
    }
    const { store, blocks } = this.session;
    store.copyBlock(this.pageOfRows, blocks - 1);
  }

  /**
   * Decodes the rows of the passage, each with the tokens before it in the cache and as the engine has it with `minContext` and
   * `kShare`.
   */
  async decode(settings: AttentionSettings): Promise<Replayed> {
    const { store, blocks } = this.session;
    const { tokens, start } = this;
    // Sums and ranges of a page run on from the row before.
    store.copyBlock(blocks - 1, this.pageOfRows);
    const parts: Replayed[] = [];
    for (let from = start; from < tokens.length; ) {
      const { attention, until } = attentionAt(settings, from + 1);
      const to = Math.min(until - 1, tokens.length);
      parts.push(await this.decodeRows(from, to, attention));
      from = to;
    }
    return parts.length === 1 ? parts[0]! : join(parts);
  }

  close(): void {
    this.session.close();
  }

  private async decodeRows(from: number, to: number, attention: AttentionSettings): Promise<Replayed> {
    const { logits, traffic } = await this.run(this.tokens.slice(from, to), from, attention, "all");
    return { logits: logits[0]!, traffic };
  }

  private get start(): number {
    return this.tokens.length - this.rows;
  }

  private get pageOfRows(): number {
    return Math.floor(this.start / this.session.blockSize);
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
    return this.session.step([{ tokenIds, contextLength, blockTable, attention, denseUntil: this.start, logits }]);
  }
}

function join(parts: readonly Replayed[]): Replayed {
  const logits = new Float32Array(parts.reduce((sum, part) => sum + part.logits.length, 0));
  let end = 0;
  for (const part of parts) {
    logits.set(part.logits, end);
    end += part.logits.length;
  }
  return { logits, traffic: parts.map(({ traffic }) => traffic).reduce(addTraffic) };
}

export interface Sizes {
  /** Tokens of the longest passage. */
  readonly context: number;
  readonly threads?: number | undefined;
  /** Whether the session is to say what sparse rows keep. */
  readonly observe?: boolean;
}
