import { OpenAPIHono, type RouteConfig } from "@hono/zod-openapi";
import type { Context } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import type { Logger } from "pino";
import { type ApiError, apiErrors, toApiError } from "./errors.ts";
import { addPage } from "./page/routes.ts";
import { chat, chatRoute } from "./routes/chat.ts";
import { completions, completionsRoute } from "./routes/completions.ts";
import { health, healthRoute } from "./routes/health.ts";
import { model, modelRoute, models, modelsRoute } from "./routes/models.ts";
import { stats, statsRoute } from "./routes/stats.ts";
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
}

/** The HTTP interface. All errors leave it in OpenAI's shape. */
export function createApp(options: AppOptions): OpenAPIHono {
  const app = new OpenAPIHono();
  app.use(logRequests(options.log));
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
    [statsRoute, served(stats)],
    [healthRoute, (context) => health(context, options.state())],
  ];
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
      options.log.error({ err: error.cause ?? thrown }, "request failed");
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

function logRequests(log: Logger) {
  return async (context: Context, next: () => Promise<void>) => {
    const started = performance.now();
    await next();
    const { method, path } = context.req;
    const ms = Math.round(performance.now() - started);
    // A stream's time is that until its headers. Probes come every few seconds.
    log[path === healthRoute.path ? "debug" : "info"]({ method, path, status: context.res.status, ms }, "request");
  };
}
