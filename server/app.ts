import { OpenAPIHono, type RouteConfig } from "@hono/zod-openapi";
import type { Context } from "hono";
import { cors } from "hono/cors";
import { requestId } from "hono/request-id";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import type { Logger } from "pino";
import type { ApiKeys } from "./api-keys.ts";
import { authorize } from "./authorize.ts";
import { type ApiError, apiErrors, toApiError } from "./errors.ts";
import type { ServerMetrics } from "./metrics/server-metrics.ts";
import { addPage } from "./page/routes.ts";
import { logRequests } from "./request-log.ts";
import { chat, chatRoute } from "./routes/chat.ts";
import { completions, completionsRoute } from "./routes/completions.ts";
import { health, healthRoute, live, liveRoute, readyRoute } from "./routes/health.ts";
import { metrics, metricsRoute } from "./routes/metrics.ts";
import { model, modelRoute, models, modelsRoute } from "./routes/models.ts";
import { stats, statsRoute } from "./routes/stats.ts";
import {
  detokenize,
  detokenizeRoute,
  tokenize,
  tokenizeRoute,
  tokenizerInfo,
  tokenizerInfoRoute,
} from "./routes/tokens.ts";
import type { ServerState, Serving } from "./serving.ts";
import { version } from "./version.ts";

export interface AppOptions {
  /** Read for every request: the model may still be loading, or the server shutting down. */
  readonly state: () => ServerState;
  readonly log: Logger;
  /** Silence in a stream after which a comment is sent, in milliseconds. */
  readonly pingMs: number;
  /** Largest request body. */
  readonly bodyLimitBytes: number;
  /** Keys that requests must bring one of; without, anyone may ask. */
  readonly apiKeys?: ApiKeys | undefined;
  /** Whether each key has cached prompts of its own. */
  readonly cacheSaltPerKey?: boolean;
  /** Origins of pages that browsers may let ask here, "*" for all of them. None: only the server's own page. */
  readonly corsOrigins?: readonly string[];
  /** Left out: there is no /metrics. */
  readonly metrics?: ServerMetrics | undefined;
  /** Whether /metrics needs a key, where there are keys. */
  readonly metricsNeedKey?: boolean;
  /** Whether prompts go into the log. */
  readonly logPrompts?: boolean;
}

const probes: ReadonlySet<string> = new Set([healthRoute, liveRoute, readyRoute].map(({ path }) => path));

/** What machines and the page ask for every few seconds. */
const polled: ReadonlySet<string> = new Set([...probes, metricsRoute.path, statsRoute.path]);

/** The HTTP interface. All errors leave it in OpenAI's shape. */
export function createApp(options: AppOptions): OpenAPIHono {
  const app = new OpenAPIHono();
  const served = (
    handle: (context: Context, serving: Serving, options: AppOptions) => Response | Promise<Response>,
  ) => {
    return (context: Context) => handle(context, servingOf(options.state()), options);
  };
  const routes: [RouteConfig, (context: Context) => Response | Promise<Response>][] = [
    [completionsRoute, served(completions)],
    [chatRoute, served(chat)],
    [modelsRoute, served(models)],
    [modelRoute, served(model)],
    [tokenizeRoute, served(tokenize)],
    [detokenizeRoute, served(detokenize)],
    [tokenizerInfoRoute, served(tokenizerInfo)],
    [statsRoute, served(stats)],
    [healthRoute, (context) => health(context, options.state())],
    [readyRoute, (context) => health(context, options.state())],
    [liveRoute, (context) => live(context, options.state())],
  ];
  const counted = options.metrics;
  if (counted !== undefined) routes.push([metricsRoute, (context) => metrics(context, counted)]);
  addMiddleware(app, options, new Set(routes.map(([{ path }]) => path)));
  for (const [route, handle] of routes) {
    app.openAPIRegistry.registerPath(route);
    addRoute(app, route.method, route.path.replace(/\{(.+?)\}/g, ":$1"), handle);
  }
  addRoute(app, "get", "/openapi.json", (context) => context.json(openApiDocument(app)));
  addPage(app);
  app.notFound((context) => errorResponse(context, apiErrors.unknownUrl(context.req.method, context.req.path)));
  app.onError((thrown, context) => {
    const error = toApiError(thrown);
    if (error.status >= 500 && error.status !== 503)
      context.get("requestLog").log.error({ err: error.cause ?? thrown }, "request failed");
    context.get("requestLog").note({ error: error.code });
    return errorResponse(context, error);
  });
  return app;
}

/** What every request passes, in this order: an id, the log, what browsers ask about origins, the API key. */
function addMiddleware(app: OpenAPIHono, options: AppOptions, routes: ReadonlySet<string>): void {
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

/** The handler for its method, and 405 for the others. */
function addRoute(
  app: OpenAPIHono,
  method: string,
  path: string,
  handle: (context: Context) => Response | Promise<Response>,
): void {
  app.on(method.toUpperCase(), path, handle);
  app.all(path, (context) => {
    throw apiErrors.methodNotAllowed(context.req.method, context.req.path, [method.toUpperCase()]);
  });
}

export function openApiDocument(app: OpenAPIHono) {
  return app.getOpenAPI31Document({
    openapi: "3.1.0",
    info: {
      title: "sparq",
      version,
      description:
        "An OpenAI-compatible LLM inference server whose attention is SparQ. Unknown request fields are ignored.",
    },
  });
}

function servingOf(state: ServerState): Serving {
  if (state.phase === "ready") return state.serving;
  throw state.phase === "loading" ? apiErrors.loading() : apiErrors.draining();
}

function errorResponse(context: Context, error: ApiError): Response {
  return context.json(error.body, error.status as ContentfulStatusCode, { ...error.headers });
}
