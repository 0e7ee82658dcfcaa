import type { RowSampling, SampledRow } from "../../attention/types.ts";
import { Detokenizer } from "./detokenizer.ts";
import { EventQueue } from "./event-queue.ts";
import type { EndReason, RequestReport } from "./observer.ts";
import { PromptScores } from "./prompt-scores.ts";
import { RandomStream } from "./random.ts";
import { RowSettings } from "./row-settings.ts";
import { StopMatcher } from "./stop.ts";
import type {
  FinishReason,
  GenerateRequest,
  GenerationSummary,
  PlannedSequence,
  TokenConstraint,
  TokenEvent,
  Tokenizer,
} from "./types.ts";

/** What a model's tokens mean to a generation. */
export interface TokenMeaning {
  readonly tokenizer: Tokenizer;
  readonly eosTokenIds: ReadonlySet<number>;
}

/** What a generation makes of a step that brought tokens. */
export interface Progress {
  /** At least one. */
  readonly tokenIds: readonly number[];
  /** Why no token follows, if none does. */
  readonly end: FinishReason | null;
  /**
   * The event of each token; none if no token was asked for, only the prompt's log-probabilities. To be called once, before
   * more is taken in: where no stop string can end the text, it is decoded only then, when the next step runs already.
   */
  readonly events: () => readonly TokenEvent[];
}

/** A token that has been taken in. */
interface Accepted {
  readonly tokenId: number;
  readonly finishReason: FinishReason | null;
  /** Mutates: makes its text. */
  readonly event: () => TokenEvent;
}

/** A step's share of a sequence, as far as it matters here. */
type Rows = Pick<PlannedSequence, "tokenIds" | "contextLength" | "logits" | "draft">;

/** One request on its way: what has been generated, and its text. Knows nothing of blocks or steps. */
export class Generation {
  readonly id: string;
  readonly request: GenerateRequest;
  readonly events = new EventQueue<TokenEvent, GenerationSummary>();
  readonly report: RequestReport;
  /** Tokens until "length": maxTokens, cut at the context's end. */
  readonly maxNewTokens: number;
  completionTokens = 0;
  cachedPromptTokens = 0;
  preemptions = 0;
  /** What rows that stopped between layers go on with. */
  hidden: Float32Array | undefined;
  /** When it is given up: while it waits, and in any case. */
  readonly deadlines: NodeJS.Timeout[] = [];
  /** Listens to the consumer's signal no longer. */
  unlisten: () => void = () => {};
  private readonly random: RandomStream;
  private readonly rows: RowSettings;
  private readonly detokenizer: Detokenizer;
  private readonly stops: StopMatcher;
  private readonly endTokens: ReadonlySet<number>;
  private readonly minTokens: number;
  private readonly scores: PromptScores | null;
  /** What its text must be; null if it may be anything. */
  readonly constraint: TokenConstraint | null;

  constructor(request: GenerateRequest, maxNewTokens: number, meaning: TokenMeaning, report: RequestReport) {
    const { sampling, promptIds } = request;
    this.id = request.id;
    this.request = request;
    this.maxNewTokens = maxNewTokens;
    this.report = report;
    this.random = new RandomStream(sampling.seed);
    this.constraint = request.grammar?.start() ?? null;
    // Where a grammar ends, nothing can follow.
    const ignoreEos = sampling.ignoreEos && this.constraint === null;
    const endTokens = [...(ignoreEos ? [] : meaning.eosTokenIds), ...(sampling.stopTokenIds ?? [])];
    this.rows = new RowSettings(sampling, promptIds, endTokens);
    this.detokenizer = new Detokenizer(meaning.tokenizer, { promptIds, visible: request.visibleTokens ?? [] });
    this.stops = new StopMatcher(sampling.stop);
    // Skipped in the text, a special token would never be found there.
    const spelled = sampling.stop.flatMap((stop) => meaning.tokenizer.specialToken(stop) ?? []);
    this.endTokens = new Set([...endTokens, ...spelled]);
    this.minTokens = sampling.minTokens ?? 0;
    this.scores = request.promptLogprobs === undefined ? null : new PromptScores(promptIds, request.promptLogprobs);
  }

  get summary(): GenerationSummary {
    const { completionTokens, cachedPromptTokens, preemptions, request } = this;
    return { promptTokens: request.promptIds.length, cachedPromptTokens, completionTokens, preemptions };
  }

  /**
   * How the rows that have logits are read: those that foretell the prompt's own tokens; the one that gives the next token, if
   * it is among them; and the one after each token of a draft, as it would be if the tokens up to it had been generated. Does
   * not mutate: a draw depends on the seed and the count. Good until accept().
   */
  sampling(rows: Rows): RowSampling[] {
    const scored = this.scores?.rows(rows.contextLength, this.scoredRows(rows)) ?? [];
    if (!this.bringsToken(rows)) return scored;
    const { draft = [] } = rows;
    const own = Array.from({ length: 1 + draft.length }, (_, i) => {
      const count = this.completionTokens + i;
      const early = count < this.minTokens && this.mayGoOn();
      return this.rows.next(this.random.uniform(count), early, draft.slice(0, i));
    });
    return [...scored, ...own.map((row) => this.constrained(row))];
  }

  /** The rows with what an earlier step left of them, if they come from between layers. */
  goOn(rows: PlannedSequence): PlannedSequence {
    const { hidden } = this;
    if (rows.layers === undefined || rows.layers.begin === 0 || hidden === undefined) return rows;
    return { ...rows, layers: { ...rows.layers, hidden } };
  }

  private constrained(row: RowSampling): RowSampling {
    if (this.constraint === null) return row;
    const { mask } = this.constraint;
    if (mask === null) throw new Error(`request ${this.id} runs before its grammar has said what may come next`);
    return { ...row, mask };
  }

  /** False where a grammar allows nothing but the end. */
  private mayGoOn(): boolean {
    const mask = this.constraint?.mask;
    if (!mask) return true;
    const rest = mask.slice();
    for (const token of this.endTokens) rest[token >> 5]! &= ~(1 << (token & 31));
    return rest.some((word) => word !== 0);
  }

  /** Takes in what these rows gave; null if that was no new token. Mutates. Throws the error of a row that has one. */
  accept(rows: Rows, sampled: readonly SampledRow[]): Progress | null {
    const scored = this.scoredRows(rows);
    this.scores?.accept(rows.contextLength, sampled.slice(0, scored));
    const own = sampled.slice(scored);
    if (own.length === 0) return null;
    if (this.maxNewTokens === 0) return { tokenIds: [tokenOf(own[0]!)], end: "length", events: () => [] };
    const tokens = this.acceptAfter(rows.draft ?? [], own);
    return {
      tokenIds: tokens.map(({ tokenId }) => tokenId),
      end: tokens.at(-1)!.finishReason,
      events: () => tokens.map(({ event }) => event()),
    };
  }

  /**
   * Takes in rows as far as they are true: row i was run after the draft's first i tokens, so it counts if the rows before it
   * were sampled to just these. The last one that counts is the first that differs from the draft, or the one behind it all.
   */
  private acceptAfter(draft: readonly number[], rows: readonly SampledRow[]): Accepted[] {
    const tokens: Accepted[] = [];
    for (const [i, row] of rows.entries()) {
      // Those before it are out of doubt; a row at fault will be the next step's first.
      if (row.error && i > 0) break;
      const token = this.acceptRow(row);
      tokens.push(token);
      if (token.finishReason !== null || token.tokenId !== draft[i]) break;
    }
    return tokens;
  }

  private scoredRows({ logits, contextLength, tokenIds }: Rows): number {
    const left = this.request.promptIds.length - 1 - contextLength;
    return logits === "all" ? Math.max(0, Math.min(tokenIds.length, left)) : 0;
  }

  private bringsToken({ contextLength, tokenIds, draft = [] }: Rows): boolean {
    const known = this.request.promptIds.length + this.completionTokens;
    return contextLength + tokenIds.length - draft.length === known;
  }

  private acceptRow(row: SampledRow): Accepted {
    const tokenId = tokenOf(row);
    this.rows.count(tokenId);
    this.completionTokens += 1;
    const place = this.completionTokens;
    const { logprob, top } = row;
    const logprobs = this.request.sampling.logprobs === undefined ? {} : { logprobs: { logprob, top } };
    if (this.request.sampling.stop.length === 0) {
      const finishReason = this.reasonWithoutText(tokenId, place);
      if (finishReason === null) this.constraint?.accept(tokenId);
      return { tokenId, finishReason, event: () => ({ tokenId, ...this.textOf(tokenId, place), ...logprobs }) };
    }
    const text = this.textOf(tokenId, place);
    if (text.finishReason === null) this.constraint?.accept(tokenId);
    return { tokenId, finishReason: text.finishReason, event: () => ({ tokenId, ...text, ...logprobs }) };
  }

  /** The request whose sequences the queue takes together. */
  get batch(): string {
    return this.request.batch ?? this.id;
  }

  /** No more tokens: the consumer gets what is there, then the summary. Mutates; once. */
  end(reason: FinishReason): void {
    this.constraint?.close();
    this.events.end(this.summary);
    this.report.finished(reason, this);
  }

  /** As end(), but then the consumer gets this error. Mutates; once. */
  fail(error: unknown, reason: EndReason): void {
    this.constraint?.close();
    this.events.fail(error);
    this.report.finished(reason, this);
  }

  /** Whether the token, the answer's `place`th, is the last one if its text does not matter; as in textOf. */
  private reasonWithoutText(tokenId: number, place: number): FinishReason | null {
    if (this.endsAt(tokenId, place)) return "stop";
    return place < this.maxNewTokens ? null : "length";
  }

  private endsAt(tokenId: number, place: number): boolean {
    return this.endTokens.has(tokenId) && (place > this.minTokens || this.constraint !== null);
  }

  private textOf(tokenId: number, place: number): Pick<TokenEvent, "text" | "finishReason"> {
    if (this.endsAt(tokenId, place)) return { text: this.finish().text, finishReason: "stop" };
    const { text, stopped } = this.stops.push(this.detokenizer.push(tokenId), place > this.minTokens);
    if (stopped) return { text, finishReason: "stop" };
    if (place < this.maxNewTokens) return { text, finishReason: null };
    const rest = this.finish();
    return { text: text + rest.text, finishReason: rest.reason };
  }

  /** Lets out the text that was held back. */
  private finish(): { text: string; reason: FinishReason } {
    const { text, stopped } = this.stops.push(this.detokenizer.flush());
    return stopped ? { text, reason: "stop" } : { text: text + this.stops.flush(), reason: "length" };
  }
}

/** Throws the error of a row that has one. */
function tokenOf({ tokenId, error }: SampledRow): number {
  if (error) throw error;
  return tokenId;
}
