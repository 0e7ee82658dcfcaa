import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { checkModel } from "../requests.ts";
import { modelListSchema, modelSchema } from "../schemas/status.ts";
import type { Serving } from "../serving.ts";
import { errorResponses } from "./responses.ts";

const { 404: notFound, 503: unavailable } = errorResponses;

export const modelsRoute = createRoute({
  method: "get",
  path: "/v1/models",
  summary: "The model that is served",
  responses: {
    200: { description: "A list of one", content: { "application/json": { schema: modelListSchema } } },
    503: unavailable,
  },
});

export const modelRoute = createRoute({
  method: "get",
  path: "/v1/models/{model}",
  summary: "The model that is served, by its id",
  request: { params: z.object({ model: z.string() }) },
  responses: {
    200: { description: "The model", content: { "application/json": { schema: modelSchema } } },
    404: notFound,
    503: unavailable,
  },
});

export function models(context: Context, serving: Serving): Response {
  return context.json({ object: "list", data: [describe(serving)] });
}

export function model(context: Context, serving: Serving): Response {
  checkModel(serving, context.req.param("model"));
  return context.json(describe(serving));
}

function describe({ name, root, created, contextLength }: Serving): z.output<typeof modelSchema> {
  return { id: name, object: "model", created, owned_by: "sparq", root, max_model_len: contextLength };
}
