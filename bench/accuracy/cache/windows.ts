/** A passage of a text: `tokens` are the context and the token after it. */
export interface Window {
  readonly text: string;
  readonly tokens: readonly number[];
}

/**
 * `count` passages of `context` + 1 tokens, evenly spread from the text's beginning to its end and not overlapping.
 * Throws RangeError, with the numbers, if the text is too short for that.
 */
export function windowsOf(text: string, tokens: readonly number[], count: number, context: number): Window[] {
  const length = context + 1;
  if (tokens.length < count * length) {
    throw new RangeError(`${text} has ${tokens.length} tokens; ${count} windows of ${length} need ${count * length}`);
  }
  const stride = count > 1 ? (tokens.length - length) / (count - 1) : 0;
  return Array.from({ length: count }, (_, i) => {
    const start = Math.floor(i * stride);
    return { text, tokens: tokens.slice(start, start + length) };
  });
}
