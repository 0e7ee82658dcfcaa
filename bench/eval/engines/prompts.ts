import type { Tokenizer } from "../../../server/engine/types.ts";

/** Tokens of a prompt, and how many of them are the context's alone. */
export interface EncodedPrompt {
  readonly tokens: readonly number[];
  readonly contextTokens: number;
}

/** Plain: the text as it is. Chat: as a user's message, through the model's template. */
export type PromptStyle = "plain" | "chat";

/**
 * A context and what follows it as one text's tokens. The context's are those that it has in common with itself alone: a
 * token across the border belongs to what follows.
 */
export function encodePrompt(
  tokenizer: Pick<Tokenizer, "encode" | "applyChatTemplate">,
  context: string,
  rest: string,
  style: PromptStyle = "plain",
): EncodedPrompt {
  const encode = (content: string) =>
    style === "plain"
      ? tokenizer.encode(content)
      : tokenizer.applyChatTemplate([{ role: "user", content }], { addGenerationPrompt: true });
  const tokens = encode(context + rest);
  const alone = encode(context);
  let contextTokens = 0;
  // The last token is always run as the question is: its row gives the first token of the answer.
  const most = Math.min(tokens.length - 1, alone.length);
  while (contextTokens < most && tokens[contextTokens] === alone[contextTokens]) contextTokens += 1;
  return { tokens, contextTokens };
}
