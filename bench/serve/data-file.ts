import type { Random } from "../soak/random.ts";
import { type Exchange, readConversations } from "../throughput/conversation-file.ts";
import { LEAST_TOKENS, MOST_PROMPT_TOKENS, MOST_TOKENS } from "../throughput/conversations.ts";
import type { Prompt, PromptSource } from "./prompts.ts";

/** Of English, roughly: the same for every server, so that all are asked the same. */
const CHARACTERS_PER_TOKEN = 4;

/**
 * First prompts of a file's conversations, in an order that the seed decides, each once, to be answered about as long as they
 * were. Those that are too short or too long are left out, as in `sparq bench throughput`.
 */
export class FilePrompts implements PromptSource {
  private readonly path: string;
  private readonly prompts: readonly Prompt[];
  private used = 0;

  /** `outputTokens` is instead of the answers' own lengths. Throws DataError for a file that is not as it should be. */
  constructor(path: string, outputTokens: number | undefined, random: Random) {
    this.path = path;
    this.prompts = random.shuffle(readConversations(path).flatMap((exchange) => promptOf(exchange, outputTokens)));
  }

  take(n: number): readonly Prompt[] {
    const from = this.used;
    this.used += n;
    if (this.used <= this.prompts.length) return this.prompts.slice(from, this.used);
    throw new Error(
      `${this.path} has ${this.prompts.length} prompts that are not too short or too long, and ${this.used} are needed: ` +
        "each is sent once, since a repeated one is cached",
    );
  }
}

/** None if it cannot be used. */
function promptOf(exchange: Exchange | null, outputTokens: number | undefined): Prompt[] {
  if (exchange === null) return [];
  const { prompt, answer } = exchange;
  const [input, own] = [prompt, answer].map((text) => Math.ceil(text.length / CHARACTERS_PER_TOKEN));
  const output = outputTokens ?? own!;
  const short = input! < LEAST_TOKENS || (outputTokens === undefined && output < LEAST_TOKENS);
  const long = input! > MOST_PROMPT_TOKENS || input! + output > MOST_TOKENS;
  return short || long ? [] : [{ text: prompt, outputTokens: output }];
}
