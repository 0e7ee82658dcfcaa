import { z } from "@hono/zod-openapi";
import { integer } from "./common.ts";
import { listOf } from "./large.ts";
import { messagesSchema } from "./messages.ts";

/** Ids that one request may ask the text of; a second or so of the event loop. */
const MOST_IDS = 2 ** 17;

export const tokenizeRequestSchema = z
  .object({
    model: z.string().nullish(),
    prompt: z.string().nullish(),
    messages: messagesSchema.nullish().openapi({ description: "In place of prompt: rendered by the chat template" }),
    add_special_tokens: z
      .boolean()
      .nullish()
      .openapi({ description: "Of a prompt: what the tokenizer puts around a text; default true" }),
    parse_special: z.boolean().nullish().openapi({
      description: "Of a prompt: special tokens that it spells are such; default true. In completions they stay text",
    }),
    add_generation_prompt: z
      .boolean()
      .nullish()
      .openapi({ description: "Of messages: with the beginning of the answer; default true" }),
    return_token_strs: z.boolean().nullish().openapi({ description: "Give each token's text too" }),
  })
  .refine(({ prompt, messages }) => (typeof prompt === "string") !== Array.isArray(messages), {
    path: ["prompt"],
    error: "must be a string, or messages be given in its place",
  })
  .openapi("TokenizeRequest");

export const tokenizeResponseSchema = z
  .object({
    count: integer,
    max_model_len: integer.openapi({ description: "Longest sequence, prompt and generated, in tokens" }),
    tokens: z.array(integer),
    token_strs: z.array(z.string()).nullable(),
  })
  .openapi("TokenizeResponse");

export const detokenizeRequestSchema = z
  .object({ model: z.string().nullish(), tokens: listOf(integer.min(0), MOST_IDS) })
  .openapi("DetokenizeRequest");

export const detokenizeResponseSchema = z.object({ prompt: z.string() }).openapi("DetokenizeResponse");

const token = z.string().nullable();

export const tokenizerInfoSchema = z
  .object({
    tokenizer_class: z.string().nullable(),
    bos_token: token,
    eos_token: token,
    unk_token: token,
    pad_token: token,
    chat_template: z.string().nullable().openapi({ description: "Jinja" }),
    model_max_length: integer,
    vocab_size: integer,
  })
  .openapi("TokenizerInfo");
