import { z } from "@hono/zod-openapi";
import { finishReasonSchema, generationFields, integer, topLogprobs, UNSUPPORTED, usageSchema } from "./common.ts";
import { promptSchema } from "./large.ts";

export const completionRequestSchema = z
  .object({
    ...generationFields,
    prompt: promptSchema,
    suffix: z
      .string()
      .nullish()
      .refine((suffix) => !suffix, { error: "is not supported: models here write forward only", params: UNSUPPORTED })
      .openapi({ description: "Not supported: empty only" }),
    best_of: integer.min(1).max(128).nullish().openapi({
      description: "Choices to make of each prompt; the n with the highest mean log-probability are given. Default n",
    }),
    echo: z
      .boolean()
      .nullish()
      .openapi({ description: "Put the prompt before the text, and its tokens before the logprobs" }),
    logprobs: z
      .union([topLogprobs, z.literal(false)])
      .nullish()
      .openapi({
        description: "Log-probabilities wanted: of each token, and of this many of the likeliest in its place",
      }),
  })
  .openapi("CompletionRequest");

export type CompletionRequest = z.output<typeof completionRequestSchema>;

const choiceSchema = z.object({
  index: integer,
  text: z.string(),
  logprobs: z
    .object({
      tokens: z.array(z.string()),
      token_logprobs: z.array(z.number().nullable()).openapi({ description: "null for a prompt's first token" }),
      top_logprobs: z.array(z.record(z.string(), z.number()).nullable()),
      text_offset: z.array(integer),
    })
    .nullable(),
  finish_reason: finishReasonSchema.nullable(),
});

/** The whole answer, and each chunk of a stream. */
export const completionResponseSchema = z
  .object({
    id: z.string(),
    object: z.literal("text_completion"),
    created: integer,
    model: z.string(),
    choices: z.array(choiceSchema),
    usage: usageSchema.nullish(),
  })
  .openapi("CompletionResponse");

export type CompletionResponse = z.output<typeof completionResponseSchema>;
