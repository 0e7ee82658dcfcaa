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
    status: z.enum(["ok", "loading", "draining"]),
    model: z.string().optional(),
    running: integer.optional(),
    waiting: integer.optional(),
    kv_cache_usage: z.number().optional().openapi({ description: "Share of the cache's blocks that sequences hold" }),
  })
  .openapi("Health");
