import type { Hono } from "hono";
import { cors } from "hono/cors";
import { requestId } from "hono/request-id";
import type { AppOptions } from "./app.ts";
import { authorize } from "./authorize.ts";
import { logRequests } from "./request-log.ts";
import { healthRoute, liveRoute, readyRoute } from "./routes/health.ts";
import { metricsRoute } from "./routes/metrics.ts";
import { modelRoute } from "./routes/models.ts";
import { statsRoute } from "./routes/stats.ts";

const probes: ReadonlySet<string> = new Set([healthRoute, liveRoute, readyRoute].map(({ path }) => path));

/** What machines and the page ask for every few seconds. */
const polled: ReadonlySet<string> = new Set([...probes, metricsRoute.path, statsRoute.path]);

/** What every request passes, in this order: an id, the log, what browsers ask about origins, the API key. */
export function addMiddleware(app: Pick<Hono, "use">, options: AppOptions, routes: ReadonlySet<string>): void {
  const { log, apiKeys, corsOrigins = [], metricsNeedKey = false } = options;
  const isPolled = (path: string) => polled.has(path);
  const isOpen = (path: string) => isPublic(path) || (path === metricsRoute.path && !metricsNeedKey);
  app.use(requestId({ limitLength: 128 }));
  app.use(logRequests(log, isPolled, ({ path, status }) => options.metrics?.answered(routeOf(path, routes), status)));
  if (corsOrigins.length > 0) {
    const origin = corsOrigins.includes("*") ? "*" : [...corsOrigins];
    app.use(cors({ origin, allowMethods: ["GET", "POST"], exposeHeaders: exposedHeaders, maxAge: 600 }));
  }
  if (apiKeys !== undefined) app.use(authorize(apiKeys, isOpen));
}

/** What a page of another origin may read of an answer's headers, beside the content's. */
const exposedHeaders = ["x-request-id", "retry-after"];

/** What needs no key: nothing that costs or tells anything. The built-in page asks for a key itself. */
function isPublic(path: string): boolean {
  return probes.has(path) || path === "/" || path === "/openapi.json" || path.startsWith("/assets/");
}

/** The path of the route that answers this path, for metrics: clients make up paths, and each would be kept. */
function routeOf(path: string, routes: ReadonlySet<string>): string {
  if (routes.has(path)) return path;
  return path.startsWith("/v1/models/") ? modelRoute.path : "other";
}
