import { engineErrors } from "../engine/errors.ts";

/** More than text has on average, so that a prompt which fits is seldom looked at twice. */
const CHARACTERS_PER_TOKEN = 8;
/** Tokens that cutting a text may add where it is cut. */
const SLACK = 256;

/**
 * Throws EngineError "context_overflow" if `text` is far over the context, without tokenising all of it. A text of so many
 * characters that not even the longest tokens make it fit is refused by its length alone. Of others it tokenises
 * beginnings of growing length, up to the half, so that what is left is at least as long as what cutting could distort. A
 * text that is a little too long is the engine's to refuse.
 *
 * @param count how many tokens a text has
 * @param longestToken characters that one token stands for at most; null if there is no such bound
 */
export function refuseFarTooLong(
  text: string,
  count: (text: string) => number,
  contextLength: number,
  longestToken: number | null,
): void {
  const least = longestToken === null ? 0 : Math.floor(text.length / longestToken);
  if (least > contextLength + SLACK) throw engineErrors.farOverContext(least, contextLength);
  for (let end = contextLength * CHARACTERS_PER_TOKEN; end <= text.length / 2; end *= 2) {
    const tokens = count(text.slice(0, end));
    if (tokens > contextLength + SLACK) throw engineErrors.farOverContext(tokens, contextLength);
  }
}
