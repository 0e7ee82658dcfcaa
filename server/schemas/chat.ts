import { z } from "@hono/zod-openapi";
import {
  finishReasonSchema,
  generationFields,
  integer,
  neutralOnly,
  topLogprobs,
  UNSUPPORTED,
  usageSchema,
} from "./common.ts";
import { listOf } from "./large.ts";

/** More than a context has tokens to show them. */
const MAX_MESSAGES = 16_384;

const textPartSchema = z.object({
  type: z.literal("text"),
  text: z.string(),
});

const isEmptyList = (list: readonly unknown[]) => list.length === 0;

const messageSchema = z
  .object({
    role: z
      .string()
      .refine((role) => !["tool", "function"].includes(role), {
        error: "is not supported yet: tool results cannot be sent",
        params: UNSUPPORTED,
      })
      .refine((role) => ["system", "developer", "user", "assistant", "tool", "function"].includes(role), {
        error: "must be one of system, developer, user, assistant",
      })
      .openapi({ enum: ["system", "developer", "user", "assistant"] }),
    content: z.union([z.string(), z.array(textPartSchema)], {
      error: "must be a string or an array of parts of type text; other parts are not supported",
    }),
    name: z.string().nullish(),
    tool_calls: neutralOnly(z.array(z.unknown()), isEmptyList, "[] only"),
  })
  .openapi("ChatMessage");

export const chatRequestSchema = z
  .object({
    ...generationFields,
    messages: listOf(messageSchema, MAX_MESSAGES).refine((messages) => messages.length > 0, {
      error: "must not be empty",
    }),
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
