import { EngineError } from "../../server/engine/errors.ts";
import type {
  Engine,
  EngineStats,
  EventLogprobs,
  FinishReason,
  GenerateRequest,
  GenerationSummary,
  TokenEvent,
} from "../../server/engine/types.ts";

/** What a scripted sequence does next: a token's text, the end, or an error. */
export type ScriptStep =
  | string
  | {
      readonly text: string;
      readonly finish?: FinishReason;
      readonly logprobs?: EventLogprobs & { readonly id: number };
    }
  | Error;

export type Script = (request: GenerateRequest) => AsyncIterable<ScriptStep> | Iterable<ScriptStep>;

/** An engine whose tokens are written down beforehand. An Error as the first step is a refusal, later a failed step. */
export class FakeEngine implements Engine {
  readonly requests: GenerateRequest[] = [];
  running = 0;
  closed = false;
  /** That every request is said to have found. */
  cachedPromptTokens = 0;
  private readonly script: Script;

  constructor(script: Script) {
    this.script = script;
  }

  async *generate(request: GenerateRequest, signal?: AbortSignal): AsyncGenerator<TokenEvent, GenerationSummary, void> {
    this.requests.push(request);
    if (this.closed) throw new EngineError("closed", "the engine is closed");
    const { maxTokens } = request.sampling;
    let completionTokens = 0;
    this.running += 1;
    try {
      const aborted = new Promise<never>((_, reject) => {
        signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
      });
      aborted.catch(() => {});
      const steps = asyncIterator(this.script(request));
      while (completionTokens < maxTokens) {
        const { done, value } = await Promise.race([steps.next(), aborted]);
        if (done) break;
        if (value instanceof Error) throw value;
        const { text, finish, logprobs } = typeof value === "string" ? { text: value } : value;
        completionTokens += 1;
        const finishReason = finish ?? (completionTokens === maxTokens ? "length" : null);
        const token = { tokenId: logprobs?.id ?? completionTokens, text, finishReason };
        yield logprobs ? { ...token, logprobs } : token;
        if (finishReason !== null) break;
      }
      const cachedPromptTokens = this.cachedPromptTokens;
      return { promptTokens: request.promptIds.length, completionTokens, cachedPromptTokens, preemptions: 0 };
    } finally {
      this.running -= 1;
    }
  }

  stats(): EngineStats {
    return {
      running: this.running,
      waiting: 0,
      blocks: { total: 10, free: 10 - this.running, cached: 0, owned: this.running },
      steps: 0,
      preemptions: 0,
      promptTokens: 0,
      cachedPromptTokens: 0,
      generatedTokens: 0,
      drafts: 0,
      draftTokens: 0,
      acceptedDraftTokens: 0,
      traffic: { scoreBytes: 0, gatherBytes: 0, denseBytes: 0, denseEquivalentBytes: 0 },
    };
  }

  async close(): Promise<void> {
    this.closed = true;
  }
}

/** A step that can be let go from outside. */
export function gate(): { readonly opened: Promise<void>; open(): void } {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

async function* asyncIterator(
  steps: AsyncIterable<ScriptStep> | Iterable<ScriptStep>,
): AsyncGenerator<ScriptStep, void> {
  yield* steps;
}
