import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import type { ServerMetrics } from "../metrics/server-metrics.ts";

export const metricsRoute = createRoute({
  method: "get",
  path: "/metrics",
  summary: "What the server has done and is doing, for Prometheus",
  responses: {
    200: {
      description: "Prometheus's text format; docs/deployment.md lists the names",
      content: { "text/plain": { schema: z.string() } },
    },
  },
});

export async function metrics(context: Context, { registry }: ServerMetrics): Promise<Response> {
  return context.body(await registry.metrics(), 200, { "content-type": registry.contentType });
}
