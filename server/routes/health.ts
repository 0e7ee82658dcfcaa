import { createRoute } from "@hono/zod-openapi";
import type { Context } from "hono";
import { apiErrors } from "../errors.ts";
import { healthSchema, liveSchema } from "../schemas/status.ts";
import { attentionName, type ServerState } from "../serving.ts";

/** No step takes so long that is still getting anywhere. */
const HUNG_SECONDS = 600;

const content = { "application/json": { schema: healthSchema } };

const responses = {
  200: { description: "Ready", content },
  503: { description: "Loading, shutting down, stuck in a step, or without its weights; see Retry-After", content },
};

export const healthRoute = createRoute({
  method: "get",
  path: "/health",
  summary: "Whether requests are taken",
  responses,
});

export const readyRoute = createRoute({
  method: "get",
  path: "/readyz",
  summary: "The same, for readiness and startup probes",
  responses,
});

export const liveRoute = createRoute({
  method: "get",
  path: "/livez",
  summary: "Whether the process is well, also while it loads or shuts down; for liveness probes",
  responses: {
    200: { description: "Alive", content: { "application/json": { schema: liveSchema } } },
    503: {
      description: "Hung: a step has run for ten minutes; or the weights' files have changed under it",
      content: { "application/json": { schema: liveSchema } },
    },
  },
});

export function health(context: Context, state: ServerState): Response {
  if (state.phase !== "ready") {
    const { headers, message } = state.phase === "loading" ? apiErrors.loading() : apiErrors.draining();
    return context.json({ status: state.phase, reason: message }, 503, headers);
  }
  const { name, engine } = state.serving;
  const reason = state.serving.broken?.();
  if (reason !== undefined) return context.json({ status: "broken", reason, model: name }, 503);
  const attention = attentionName(state.serving);
  const { running, waiting, blocks, stuckStep } = engine.stats();
  if (stuckStep !== undefined) {
    const { headers, message } = apiErrors.stuck(stuckStep.description, stuckStep.seconds);
    return context.json({ status: "stuck", reason: message, model: name, attention, running, waiting }, 503, headers);
  }
  const kvCacheUsage = blocks.owned / blocks.total;
  return context.json({ status: "ok", model: name, attention, running, waiting, kv_cache_usage: kvCacheUsage });
}

/**
 * A server that loads or drains is alive: whoever restarts it then makes matters worse. One that has been in the same step
 * for so long will not come out of it, nor will one whose weights are gone, and only a restart helps.
 */
export function live(context: Context, state: ServerState): Response {
  const { phase } = state;
  const reason = phase === "ready" ? state.serving.broken?.() : undefined;
  if (reason !== undefined) return context.json({ status: "broken", phase, reason }, 503);
  const stuckStep = phase === "ready" ? state.serving.engine.stats().stuckStep : undefined;
  if (stuckStep === undefined || stuckStep.seconds < HUNG_SECONDS) return context.json({ status: "ok", phase });
  const { message } = apiErrors.stuck(stuckStep.description, stuckStep.seconds);
  return context.json({ status: "stuck", phase, reason: message }, 503);
}
