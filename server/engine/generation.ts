import type { RowSampling, SampledRow } from "../../attention/types.ts";
import { Detokenizer } from "./detokenizer.ts";
import { EventQueue } from "./event-queue.ts";
import type { EndReason, RequestReport } from "./observer.ts";
import { RandomStream } from "./random.ts";
import { RowSettings } from "./row-settings.ts";
import { StopMatcher } from "./stop.ts";
import type { FinishReason, GenerateRequest, GenerationSummary, TokenEvent, Tokenizer } from "./types.ts";

/** What a model's tokens mean to a generation. */
export interface TokenMeaning {
  readonly tokenizer: Tokenizer;
  readonly eosTokenIds: ReadonlySet<number>;
}

/** One request on its way: what has been generated, and its text. Knows nothing of blocks or steps. */
export class Generation {
  readonly id: string;
  readonly request: GenerateRequest;
  readonly events = new EventQueue<TokenEvent>();
  readonly report: RequestReport;
  /** Tokens until "length": maxTokens, cut at the context's end. */
  readonly maxNewTokens: number;
  completionTokens = 0;
  cachedPromptTokens = 0;
  preemptions = 0;
  private readonly random: RandomStream;
  private readonly rows: RowSettings;
  private readonly detokenizer: Detokenizer;
  private readonly stops: StopMatcher;
  private readonly endTokens: ReadonlySet<number>;

  constructor(request: GenerateRequest, maxNewTokens: number, meaning: TokenMeaning, report: RequestReport) {
    const { sampling, promptIds } = request;
    this.id = request.id;
    this.request = request;
    this.maxNewTokens = maxNewTokens;
    this.report = report;
    this.random = new RandomStream(sampling.seed);
    this.rows = new RowSettings(sampling, promptIds);
    this.detokenizer = new Detokenizer(meaning.tokenizer, { promptIds });
    this.stops = new StopMatcher(sampling.stop);
    const spelled = sampling.stop.flatMap((stop) => specialToken(stop, meaning.tokenizer));
    this.endTokens = new Set([...(sampling.ignoreEos ? [] : meaning.eosTokenIds), ...spelled]);
  }

  get summary(): GenerationSummary {
    const { completionTokens, cachedPromptTokens, preemptions, request } = this;
    return { promptTokens: request.promptIds.length, cachedPromptTokens, completionTokens, preemptions };
  }

  /** How the next token is chosen. Does not mutate: the draw depends on the seed and the count. Good until accept(). */
  sampling(): RowSampling {
    return this.rows.next(this.random.uniform(this.completionTokens));
  }

  /** Takes in the next token; returns the event to emit. Mutates. Throws the error of a row that has one. */
  accept({ tokenId, logprob, top, error }: SampledRow): TokenEvent {
    if (error) throw error;
    this.rows.count(tokenId);
    this.completionTokens += 1;
    const event = this.eventOf(tokenId);
    return this.request.sampling.logprobs === undefined ? event : { ...event, logprobs: { logprob, top } };
  }

  /** No more tokens: the consumer gets what is there, then the summary. Mutates; once. */
  end(reason: FinishReason): void {
    this.events.end();
    this.report.finished(reason, this);
  }

  /** As end(), but then the consumer gets this error. Mutates; once. */
  fail(error: unknown, reason: EndReason): void {
    this.events.fail(error);
    this.report.finished(reason, this);
  }

  private eventOf(tokenId: number): TokenEvent {
    if (this.endTokens.has(tokenId)) return { tokenId, text: this.finish().text, finishReason: "stop" };
    const { text, stopped } = this.stops.push(this.detokenizer.push(tokenId));
    if (stopped) return { tokenId, text, finishReason: "stop" };
    if (this.completionTokens < this.maxNewTokens) return { tokenId, text, finishReason: null };
    const rest = this.finish();
    return { tokenId, text: text + rest.text, finishReason: rest.reason };
  }

  /** Lets out the text that was held back. */
  private finish(): { text: string; reason: FinishReason } {
    const { text, stopped } = this.stops.push(this.detokenizer.flush());
    return stopped ? { text, reason: "stop" } : { text: text + this.stops.flush(), reason: "length" };
  }
}

/** The special token that a stop string spells, if it does: skipped in the text, it would never be found there. */
function specialToken(stop: string, tokenizer: Tokenizer): number[] {
  if (stop === "") return [];
  const ids = tokenizer.encode(stop, { addSpecialTokens: false, parseSpecial: true });
  return ids.length === 1 && tokenizer.decode(ids) === stop && tokenizer.decode(ids, { skipSpecialTokens: true }) === ""
    ? ids
    : [];
}
