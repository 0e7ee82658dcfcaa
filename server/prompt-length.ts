import type { Tokenizer } from "./engine/types.ts";
import { apiErrors } from "./errors.ts";

/** More than text has on average, so that a prompt which fits is seldom looked at twice. */
const CHARACTERS_PER_TOKEN = 8;
/** Tokens that cutting a text may add where it is cut. */
const SLACK = 256;

/**
 * Throws ApiError if `text` is far over the context, without tokenizing all of it: tokenizing megabytes only to refuse
 * them would keep everyone else waiting. It looks at beginnings of growing length, up to the half, so that what is left
 * is at least as long as what cutting could distort. A text that is a little too long is the engine's to refuse.
 */
export function refuseFarTooLong(text: string, tokenizer: Tokenizer, contextLength: number, param: string): void {
  for (let end = contextLength * CHARACTERS_PER_TOKEN; end <= text.length / 2; end *= 2) {
    const tokens = tokenizer.encode(text.slice(0, end), { addSpecialTokens: false }).length;
    if (tokens <= contextLength + SLACK) continue;
    const message = `the prompt has more than ${tokens} tokens; the context is ${contextLength} tokens`;
    throw apiErrors.contextOverflow(message, param);
  }
}
