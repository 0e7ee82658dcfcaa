import { z } from "@hono/zod-openapi";
import { finishReasonSchema, generationFields, integer, neutralOnly, topLogprobs, usageSchema } from "./common.ts";
import { messagesSchema } from "./messages.ts";

const isEmptyList = (list: readonly unknown[]) => list.length === 0;

export const chatRequestSchema = z
  .object({
    ...generationFields,
    messages: messagesSchema,
    max_completion_tokens: integer.min(0).nullish().openapi({ description: "Goes before max_tokens" }),
    logprobs: z.boolean().nullish().openapi({ description: "Whether each token's log-probability is wanted" }),
    top_logprobs: topLogprobs
      .nullish()
      .openapi({ description: "With logprobs: log-probabilities of this many of the likeliest tokens in its place" }),
    tools: neutralOnly(z.array(z.unknown()), isEmptyList, "[] only"),
    tool_choice: neutralOnly(
      z.union([z.string(), z.looseObject({})]),
      (choice) => choice === "none" || choice === "auto",
      "none, or auto without tools",
    ),
    functions: neutralOnly(z.array(z.unknown()), isEmptyList, "[] only"),
  })
  .refine(({ logprobs, top_logprobs }) => logprobs || !top_logprobs, {
    path: ["top_logprobs"],
    error: "needs logprobs to be true",
  })
  .openapi("ChatCompletionRequest");

export type ChatRequest = z.output<typeof chatRequestSchema>;

const tokenLogprob = { token: z.string(), logprob: z.number(), bytes: z.array(integer).nullable() };

const logprobsSchema = z
  .object({
    content: z.array(z.object({ ...tokenLogprob, top_logprobs: z.array(z.object(tokenLogprob)) })),
    refusal: z.null(),
  })
  .nullable();

const envelope = { id: z.string(), created: integer, model: z.string() };

export const chatResponseSchema = z
  .object({
    ...envelope,
    object: z.literal("chat.completion"),
    choices: z.array(
      z.object({
        index: integer,
        message: z.object({ role: z.literal("assistant"), content: z.string(), refusal: z.null() }),
        logprobs: logprobsSchema,
        finish_reason: finishReasonSchema,
      }),
    ),
    usage: usageSchema,
  })
  .openapi("ChatCompletionResponse");

export type ChatResponse = z.output<typeof chatResponseSchema>;

export const chatChunkSchema = z
  .object({
    ...envelope,
    object: z.literal("chat.completion.chunk"),
    choices: z.array(
      z.object({
        index: integer,
        delta: z.object({ role: z.literal("assistant").optional(), content: z.string().optional() }),
        logprobs: logprobsSchema,
        finish_reason: finishReasonSchema.nullable(),
      }),
    ),
    usage: usageSchema.nullish(),
  })
  .openapi("ChatCompletionChunk");

export type ChatChunk = z.output<typeof chatChunkSchema>;
