import type { EventLogprobs, PromptLogprobs, Tokenizer } from "./engine/types.ts";
import type { CompletionLogprobs, CompletionLogprobsWriter, ScoredToken } from "./logprobs.ts";

/** What `echo` puts before each choice of a prompt: its text and, if asked for, its tokens' log-probabilities. */
export class EchoedPrompt {
  /** A string as it was sent; of ids all that they spell. */
  readonly text: string;
  private readonly ids: readonly number[];
  /** The text leaves out the special tokens that the tokenizer put around it. */
  private readonly skipSpecialTokens: boolean;
  private scores: readonly EventLogprobs[] = [];

  constructor(given: string | readonly number[], ids: readonly number[], tokenizer: Tokenizer) {
    this.skipSpecialTokens = typeof given === "string";
    this.text = typeof given === "string" ? given : tokenizer.decode(given);
    this.ids = ids;
  }

  /** To be asked of the engine: it fills in the scores, which all choices of the prompt have in common. */
  request(top: number): PromptLogprobs {
    return {
      top,
      onReady: (logprobs) => {
        this.scores = logprobs;
      },
    };
  }

  /** Once the scores are there, the beginning of a choice's log-probabilities. */
  logprobs(writer: CompletionLogprobsWriter): CompletionLogprobs {
    const tokens = this.ids.map((tokenId, i): ScoredToken => ({ tokenId, logprobs: this.scores[i - 1] ?? null }));
    return writer.write(tokens, { skipSpecialTokens: this.skipSpecialTokens });
  }
}
