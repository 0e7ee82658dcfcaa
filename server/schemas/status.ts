import { z } from "@hono/zod-openapi";
import { integer } from "./common.ts";

export const modelSchema = z
  .object({
    id: z.string(),
    object: z.literal("model"),
    created: integer,
    owned_by: z.string(),
    root: z.string().openapi({ description: "Where the model came from" }),
    max_model_len: integer.openapi({ description: "Longest sequence, prompt and generated, in tokens" }),
  })
  .openapi("Model");

export const modelListSchema = z.object({ object: z.literal("list"), data: z.array(modelSchema) }).openapi("ModelList");

export const healthSchema = z
  .object({
    status: z.enum(["ok", "loading", "draining", "stuck", "broken"]),
    reason: z.string().optional().openapi({ description: "Why no requests are taken" }),
    model: z.string().optional(),
    attention: z.enum(["sparq", "dense", "onnx"]).optional().openapi({ description: "Of requests that say nothing" }),
    running: integer.optional(),
    waiting: integer.optional(),
    kv_cache_usage: z.number().optional().openapi({ description: "Share of the cache's blocks that sequences hold" }),
  })
  .openapi("Health");

const count = integer.min(0);

export const statsSchema = z
  .object({
    model: z.string(),
    context_length: count.openapi({ description: "Longest sequence, prompt and generated, in tokens" }),
    head_size: count.openapi({ description: "Components of a key: the most that r can be" }),
    attention: z
      .object({ mode: z.enum(["dense", "sparq", "onnx"]), r: count, k: count, k_share: z.number(), min_context: count })
      .openapi({
        description:
          'For requests that say nothing; mode "onnx": the model\'s own, dense, run by ONNX Runtime, whatever they say',
      }),
    running: count,
    waiting: count,
    blocks: z
      .object({ total: count, free: count, cached: count, owned: count })
      .openapi({ description: "Of the cache: free, kept for prompts that begin alike, held by sequences" }),
    steps: count,
    preemptions: count,
    prompt_tokens: count.openapi({ description: "Of the requests that have started" }),
    cached_prompt_tokens: count.openapi({ description: "Of these, served from the prefix cache" }),
    generated_tokens: count,
    speculation: z
      .object({
        drafts: count,
        draft_tokens: count.openapi({ description: "Tokens in them" }),
        accepted_draft_tokens: count.openapi({
          description: "Of these, what came true: each saved a step of its sequence",
        }),
      })
      .openapi({ description: "Drafts of next tokens that were run" }),
    traffic: z
      .object({
        score_bytes: count.openapi({ description: "SparQ's ranking of the positions" }),
        gather_bytes: count.openapi({ description: "SparQ's exact attention to those it keeps" }),
        dense_bytes: count.openapi({ description: "Dense attention, that of prompts included" }),
        dense_equivalent_bytes: count.openapi({
          description: "What the same rows would have read with dense attention",
        }),
      })
      .openapi({
        description:
          'Bytes that attention has read from the cache; zeros where attention\'s mode is "onnx", which tells nobody',
      }),
  })
  .openapi("Stats");

export const liveSchema = z
  .object({
    status: z.enum(["ok", "stuck", "broken"]),
    phase: z.enum(["loading", "ready", "draining"]),
    reason: z.string().optional(),
  })
  .openapi("Liveness");
