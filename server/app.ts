import { OpenAPIHono, type RouteConfig } from "@hono/zod-openapi";
import type { Context } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import type { Logger } from "pino";
import type { ApiKeys } from "./api-keys.ts";
import { type ApiError, apiErrors, toApiError } from "./errors.ts";
import type { ServerMetrics } from "./metrics/server-metrics.ts";
import { addMiddleware } from "./middleware.ts";
import { addPage } from "./page/routes.ts";
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
  app.openAPIRegistry.registerComponent("securitySchemes", "key", { type: "http", scheme: "bearer" });
  return app.getOpenAPI31Document({
    openapi: "3.1.0",
    // A key where the server has keys.
    security: [{}, { key: [] }],
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
