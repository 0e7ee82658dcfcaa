import { z } from "@hono/zod-openapi";
import { MOST_LOGPROBS } from "../../attention/sampling.ts";
import { ranks } from "../../attention/types.ts";
import { listOf, recordOf, stopSchema } from "./large.ts";

/** Marks an issue as "known, but not there yet" rather than "wrong". */
export const UNSUPPORTED = { unsupported: true } as const;

/** A field of OpenAI's or vLLM's API that would change the answer: taken only with a value that changes nothing. */
function neutralOnly<T extends z.ZodType>(schema: T, isNeutral: (value: z.output<T>) => boolean, description: string) {
  return schema
    .nullish()
    .refine((value) => value === null || value === undefined || isNeutral(value), {
      error: "is not supported yet",
      params: UNSUPPORTED,
    })
    .openapi({ description: `Not supported yet: ${description}` });
}

const integer = z.int();

/** How SparQ attention runs for this request; what is left out comes from the server's settings. */
export const sparqSchema = z
  .object({
    mode: z.enum(["dense", "sparq"]).nullish(),
    r: integer.min(1).nullish().openapi({ description: "Query components in the score pass, at most the head size" }),
    k: integer.min(1).nullish().openapi({ description: "Positions that are attended exactly" }),
    local: integer.min(0).nullish().openapi({ description: "Most recent positions always among the k; default k / 4" }),
    mean_value: z.boolean().nullish().openapi({ description: "Give the mass left out to the mean of V" }),
    group_sum: z
      .enum(["softmax", "logits"])
      .nullish()
      .openapi({ description: "What is summed over a group of query heads before the top-k" }),
    k_share: z.number().min(0).max(1).nullish().openapi({
      description:
        "Share of the visible positions that is kept where it is more than k, in steps of 64; 0 when k is given",
    }),
    min_context: integer.min(0).nullish().openapi({
      description:
        "Attend densely while fewer positions are visible; default 0 when mode, r, k, rank or sinks asks for SparQ",
    }),
    top_k_buckets: z
      .union([z.literal(0), z.literal(1), z.literal(2), z.literal(4)], { error: "must be 0, 1, 2 or 4" })
      .nullish()
      .openapi({ description: "Kept of each interleaved bucket in an approximate top-k; 0 = exact" }),
    rank: z
      .enum(ranks)
      .nullish()
      .openapi({
        description:
          "What ranks positions, to compare SparQ with: exact scores (reads every key), none (the most recent only) or random; " +
          "mass (H2O) is refused: a server does not keep what it needs",
      }),
    sinks: integer.min(0).nullish().openapi({ description: "First positions always among the k; default 0" }),
  })
  .openapi("SparqSettings");

const jsonSchema = z.union([z.looseObject({}), z.boolean()], { error: "must be a JSON schema" });

export const responseFormatSchema = z
  .discriminatedUnion(
    "type",
    [
      z.object({ type: z.literal("text") }),
      z.object({ type: z.literal("json_object") }),
      z.object({
        type: z.literal("json_schema"),
        json_schema: z.object({
          name: z.string().nullish(),
          description: z.string().nullish(),
          strict: z.boolean().nullish(),
          schema: jsonSchema.nullish(),
        }),
      }),
    ],
    { error: 'must have a type of "text", "json_object" or "json_schema"' },
  )
  .openapi("ResponseFormat", { description: "JSON is enforced token by token, strict or not" });

/** What completions and chat completions share. Every field may be null, which means absent. */
export const generationFields = {
  model: z.string().nullish().openapi({ description: "The served model's id; GET /v1/models names it" }),
  max_tokens: integer.min(0).nullish(),
  temperature: z.number().min(0).nullish().openapi({ description: "0 = greedy; default: the model's, else 1" }),
  top_p: z.number().min(0).max(1).nullish(),
  top_k: integer.min(-1).nullish().openapi({ description: "0 or -1 = off" }),
  min_p: z
    .number()
    .min(0)
    .max(1)
    .nullish()
    .openapi({ description: "Drops tokens of less than this share of the likeliest one's probability; 0 = off" }),
  presence_penalty: z
    .number()
    .min(-2)
    .max(2)
    .nullish()
    .openapi({ description: "Subtracted from the logits of tokens that were generated" }),
  frequency_penalty: z
    .number()
    .min(-2)
    .max(2)
    .nullish()
    .openapi({ description: "Subtracted once for each time that a token was generated" }),
  repetition_penalty: z
    .number()
    .min(0.01)
    .max(100)
    .nullish()
    .openapi({ description: "Divides positive and multiplies negative logits of tokens in prompt or output; 1 = off" }),
  logit_bias: recordOf(z.number().min(-100).max(100)).openapi({ description: "Added to logits, by token id" }),
  seed: integer.nullish(),
  stop: stopSchema,
  stop_token_ids: listOf(integer.min(0), 1024)
    .nullish()
    .openapi({ description: "Tokens that end the text; they are not part of it" }),
  min_tokens: integer
    .min(0)
    .nullish()
    .openapi({ description: "Until so many are there, no token and no stop string ends the text" }),
  n: integer.min(1).max(128).nullish(),
  stream: z.boolean().nullish(),
  stream_options: z.object({ include_usage: z.boolean().nullish() }).nullish(),
  ignore_eos: z.boolean().nullish(),
  user: z
    .string()
    .nullish()
    .openapi({ description: "Users of one priority take turns, so that none waits for all of another's requests" }),
  priority: integer
    .nullish()
    .openapi({ description: "Lower numbers run sooner and may interrupt higher ones; default 0" }),
  cache_salt: z
    .string()
    .nullish()
    .openapi({ description: "Cached prompts are shared only among requests of the same salt" }),
  sparq: sparqSchema.nullish(),

  response_format: responseFormatSchema.nullish(),
};

/** Likeliest tokens whose log-probabilities can be had. */
export const topLogprobs = integer.min(0).max(MOST_LOGPROBS);

export { integer, neutralOnly };

export const usageSchema = z
  .object({
    prompt_tokens: integer,
    completion_tokens: integer,
    total_tokens: integer,
    prompt_tokens_details: z.object({
      cached_tokens: integer.openapi({ description: "Tokens of the prompts that the prefix cache had" }),
    }),
  })
  .openapi("Usage");

export const finishReasonSchema = z.enum(["stop", "length"]);

export const errorSchema = z
  .object({
    error: z.object({
      message: z.string(),
      type: z.string(),
      param: z.string().nullable(),
      code: z.string(),
    }),
  })
  .openapi("Error");
