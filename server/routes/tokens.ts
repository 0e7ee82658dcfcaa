import { createRoute, type z } from "@hono/zod-openapi";
import type { Context } from "hono";
import type { AppOptions } from "../app.ts";
import { apiErrors } from "../errors.ts";
import { encodeMessages } from "../messages.ts";
import { checkModel, encodePrompt, readBody } from "../requests.ts";
import {
  detokenizeRequestSchema,
  detokenizeResponseSchema,
  tokenizeRequestSchema,
  tokenizeResponseSchema,
  tokenizerInfoSchema,
} from "../schemas/tokens.ts";
import type { Serving } from "../serving.ts";
import { TokenTexts } from "../token-texts.ts";
import { errorResponses } from "./responses.ts";

const jsonOf = (schema: z.ZodType) => ({ content: { "application/json": { schema } } });

export const tokenizeRoute = createRoute({
  method: "post",
  path: "/tokenize",
  summary: "The tokens of a text or a conversation",
  request: { body: { required: true, ...jsonOf(tokenizeRequestSchema) } },
  responses: { 200: { description: "Their ids", ...jsonOf(tokenizeResponseSchema) }, ...errorResponses },
});

export const detokenizeRoute = createRoute({
  method: "post",
  path: "/detokenize",
  summary: "The text of tokens, special ones spelled",
  request: { body: { required: true, ...jsonOf(detokenizeRequestSchema) } },
  responses: { 200: { description: "The text", ...jsonOf(detokenizeResponseSchema) }, ...errorResponses },
});

export const tokenizerInfoRoute = createRoute({
  method: "get",
  path: "/tokenizer_info",
  summary: "The tokenizer's special tokens and its chat template",
  responses: {
    200: { description: "As tokenizer_config.json names them", ...jsonOf(tokenizerInfoSchema) },
    503: errorResponses[503],
  },
});

export async function tokenize(context: Context, serving: Serving, options: AppOptions): Promise<Response> {
  const fields = await readBody(context, tokenizeRequestSchema, options.bodyLimitBytes);
  checkModel(serving, fields.model);
  const tokens = await idsOf(fields, serving, context.req.raw.signal);
  const texts = TokenTexts.of(serving.tokenizer);
  const body: z.output<typeof tokenizeResponseSchema> = {
    count: tokens.length,
    max_model_len: serving.contextLength,
    tokens,
    token_strs: fields.return_token_strs ? tokens.map((id) => texts.text(id)) : null,
  };
  return context.json(body);
}

async function idsOf(
  { prompt, messages, ...asked }: z.output<typeof tokenizeRequestSchema>,
  serving: Serving,
  signal: AbortSignal,
): Promise<number[]> {
  if (messages) {
    const rendering = { addGenerationPrompt: asked.add_generation_prompt ?? true, limited: false };
    return encodeMessages(messages, serving, rendering, signal);
  }
  // As Hugging Face's tokenizers do, and with them those who ask for the id of a special token.
  const encoding = { addSpecialTokens: asked.add_special_tokens ?? true, parseSpecial: asked.parse_special ?? true };
  const [ids] = await encodePrompt(serving.prompts.encode([prompt!], encoding, signal), "prompt", signal);
  return ids!;
}

export async function detokenize(context: Context, serving: Serving, options: AppOptions): Promise<Response> {
  const { model, tokens } = await readBody(context, detokenizeRequestSchema, options.bodyLimitBytes);
  checkModel(serving, model);
  const { vocabSize } = serving.tokenizer;
  const foreign = tokens.findIndex((id) => id >= vocabSize);
  if (foreign >= 0) {
    const message = `tokens[${foreign}]: ${tokens[foreign]} is outside the vocabulary of ${vocabSize}`;
    throw apiErrors.invalidValue(`tokens[${foreign}]`, message);
  }
  return context.json({ prompt: serving.tokenizer.decode(tokens) });
}

export function tokenizerInfo(context: Context, { tokenizer, contextLength }: Serving): Response {
  const { namedTokens, tokenizerClass, chatTemplate } = tokenizer.info;
  const spelled = (id: number | undefined) => (id === undefined ? null : tokenizer.decode([id]));
  const body: z.output<typeof tokenizerInfoSchema> = {
    tokenizer_class: tokenizerClass ?? null,
    bos_token: namedTokens.bos_token ?? spelled(tokenizer.bosTokenId),
    eos_token: namedTokens.eos_token ?? spelled(tokenizer.eosTokenIds[0]),
    unk_token: namedTokens.unk_token ?? null,
    pad_token: namedTokens.pad_token ?? null,
    chat_template: chatTemplate ?? null,
    model_max_length: contextLength,
    vocab_size: tokenizer.vocabSize,
  };
  return context.json(body);
}
