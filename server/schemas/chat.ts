import { z } from "@hono/zod-openapi";
import { finishReasonSchema, generationFields, integer, neutralOnly, topLogprobs, usageSchema } from "./common.ts";
import { listOf } from "./large.ts";
import { messagesSchema, toolCallSchema } from "./messages.ts";

const isEmptyList = (list: readonly unknown[]) => list.length === 0;

const MAX_TOOLS = 128;

export const toolSchema = z
  .object({
    type: z.literal("function", { error: 'must be "function"' }),
    function: z.object({
      name: z
        .string()
        .regex(/^[\w.-]{1,64}$/, { error: "must be 1 to 64 letters, digits, underscores, dots or dashes" }),
      description: z.string().nullish(),
      parameters: z.looseObject({}).nullish().openapi({ description: "A JSON schema" }),
      strict: z.boolean().nullish(),
    }),
  })
  .openapi("Tool");

export type Tool = z.output<typeof toolSchema>;

export const chatRequestSchema = z
  .object({
    ...generationFields,
    messages: messagesSchema,
    max_completion_tokens: integer.min(0).nullish().openapi({ description: "Goes before max_tokens" }),
    logprobs: z.boolean().nullish().openapi({ description: "Whether each token's log-probability is wanted" }),
    top_logprobs: topLogprobs
      .nullish()
      .openapi({ description: "With logprobs: log-probabilities of this many of the likeliest tokens in its place" }),
    tools: listOf(toolSchema, MAX_TOOLS).nullish(),
    tool_choice: z
      .union(
        [
          z.enum(["none", "auto", "required"]),
          z.object({ type: z.literal("function"), function: z.object({ name: z.string() }) }),
        ],
        { error: 'must be "none", "auto", "required" or {"type": "function", "function": {"name": ...}}' },
      )
      .nullish()
      .openapi({ description: "Default auto; required and a named function are enforced token by token" }),
    parallel_tool_calls: z
      .boolean()
      .nullish()
      .openapi({ description: "Whether there may be several calls; default true" }),
    functions: neutralOnly(z.array(z.unknown()), isEmptyList, "[] only"),
  })
  .refine(({ logprobs, top_logprobs }) => logprobs || !top_logprobs, {
    path: ["top_logprobs"],
    error: "needs logprobs to be true",
  })
  .openapi("ChatCompletionRequest");

export type ChatRequest = z.output<typeof chatRequestSchema>;

const chatFinishReasonSchema = z.enum([...finishReasonSchema.options, "tool_calls"]);

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
        message: z.object({
          role: z.literal("assistant"),
          content: z.string().nullable(),
          refusal: z.null(),
          tool_calls: z.array(toolCallSchema).optional(),
        }),
        logprobs: logprobsSchema,
        finish_reason: chatFinishReasonSchema,
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
        delta: z.object({
          role: z.literal("assistant").optional(),
          content: z.string().optional(),
          tool_calls: z
            .array(
              z.object({
                index: integer,
                id: z.string().optional(),
                type: z.literal("function").optional(),
                function: z.object({ name: z.string().optional(), arguments: z.string() }),
              }),
            )
            .optional(),
        }),
        logprobs: logprobsSchema,
        finish_reason: chatFinishReasonSchema.nullable(),
      }),
    ),
    usage: usageSchema.nullish(),
  })
  .openapi("ChatCompletionChunk");

export type ChatChunk = z.output<typeof chatChunkSchema>;
