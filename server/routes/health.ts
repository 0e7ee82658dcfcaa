import { createRoute } from "@hono/zod-openapi";
import type { Context } from "hono";
import { apiErrors } from "../errors.ts";
import { healthSchema } from "../schemas/status.ts";
import type { ServerState } from "../serving.ts";

const content = { "application/json": { schema: healthSchema } };

export const healthRoute = createRoute({
  method: "get",
  path: "/health",
  summary: "Whether requests are taken",
  responses: {
    200: { description: "Ready", content },
    503: { description: "Loading, or shutting down; see Retry-After", content },
  },
});

export function health(context: Context, state: ServerState): Response {
  if (state.phase !== "ready") {
    const { headers } = state.phase === "loading" ? apiErrors.loading() : apiErrors.draining();
    return context.json({ status: state.phase }, 503, headers);
  }
  const { name, engine } = state.serving;
  const { running, waiting, blocks } = engine.stats();
  return context.json({ status: "ok", model: name, running, waiting, kv_cache_usage: blocks.owned / blocks.total });
}
