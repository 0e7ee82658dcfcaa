import { ChatTemplateError } from "./chat-template.ts";
import { EngineError, type EngineErrorCode } from "./engine/errors.ts";

/** Every error that a client can get: its code on the wire, and what goes with it. */
const catalogue = {
  invalid_json: { status: 400, type: "invalid_request_error" },
  invalid_value: { status: 400, type: "invalid_request_error" },
  unsupported_parameter: { status: 400, type: "invalid_request_error" },
  context_length_exceeded: { status: 400, type: "invalid_request_error" },
  chat_template_error: { status: 400, type: "invalid_request_error" },
  cache_too_small: { status: 400, type: "invalid_request_error" },
  invalid_api_key: { status: 401, type: "invalid_request_error" },
  model_not_found: { status: 404, type: "invalid_request_error" },
  unknown_url: { status: 404, type: "invalid_request_error" },
  method_not_allowed: { status: 405, type: "invalid_request_error" },
  body_too_large: { status: 413, type: "invalid_request_error" },
  queue_full: { status: 429, type: "rate_limit_exceeded" },
  client_closed: { status: 499, type: "invalid_request_error" },
  internal_error: { status: 500, type: "server_error" },
  queue_timeout: { status: 503, type: "service_unavailable" },
  stuck: { status: 503, type: "service_unavailable" },
  loading: { status: 503, type: "service_unavailable" },
  draining: { status: 503, type: "service_unavailable" },
  request_timeout: { status: 504, type: "timeout" },
} as const satisfies Record<string, { status: number; type: string }>;

export type ApiErrorCode = keyof typeof catalogue;

/** What goes out as `{"error": ...}`. */
export interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string;
  };
}

interface ApiErrorDetails extends ErrorOptions {
  /** Path of the field at fault, as in "messages[0].content". */
  readonly param?: string | null;
  readonly headers?: Readonly<Record<string, string>>;
}

/** An error with a place in the catalogue; its message is for the client. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly code: ApiErrorCode;
  readonly status: number;
  readonly param: string | null;
  readonly headers: Readonly<Record<string, string>>;

  constructor(code: ApiErrorCode, message: string, details: ApiErrorDetails = {}) {
    super(message, details);
    this.code = code;
    this.status = catalogue[code].status;
    this.param = details.param ?? null;
    this.headers = details.headers ?? {};
  }

  get body(): ErrorBody {
    const { message, param, code } = this;
    return { error: { message, type: catalogue[code].type, param, code } };
  }
}

/** One maker for each kind of request error. */
export const apiErrors = {
  invalidJson: (reason: string) => new ApiError("invalid_json", `the body is not JSON: ${reason}`),
  invalidValue: (param: string | null, message: string) => new ApiError("invalid_value", message, { param }),
  unsupported: (param: string, message: string) => new ApiError("unsupported_parameter", message, { param }),
  contextOverflow: (message: string, param: string) => new ApiError("context_length_exceeded", message, { param }),
  missingKey: () =>
    new ApiError("invalid_api_key", "this server needs an API key: send `Authorization: Bearer YOUR_KEY`", {
      headers: { "www-authenticate": 'Bearer realm="sparq"' },
    }),
  wrongKey: () =>
    new ApiError("invalid_api_key", "the API key is not one that this server knows", {
      headers: { "www-authenticate": 'Bearer realm="sparq", error="invalid_token"' },
    }),
  modelNotFound: (asked: string, served: string) =>
    new ApiError("model_not_found", `model "${asked}" is not served here; this server has "${served}"`, {
      param: "model",
    }),
  unknownUrl: (method: string, path: string) =>
    new ApiError("unknown_url", `unknown URL: ${method} ${path}; GET /openapi.json lists what there is`),
  methodNotAllowed: (method: string, path: string, allowed: readonly string[]) =>
    new ApiError("method_not_allowed", `${path} takes ${allowed.join(" and ")}, not ${method}`, {
      headers: { allow: allowed.join(", ") },
    }),
  bodyTooLarge: (limitBytes: number) =>
    new ApiError("body_too_large", `the body is larger than the ${limitBytes} bytes that this server takes`, {
      headers: { connection: "close" },
    }),
  clientClosed: () => new ApiError("client_closed", "the client closed the connection"),
  queueFull: (message: string, retryAfterSeconds = 1) =>
    new ApiError("queue_full", message, { headers: { "retry-after": String(retryAfterSeconds) } }),
  queueTimeout: (message: string, retryAfterSeconds = 1) =>
    new ApiError("queue_timeout", message, { headers: { "retry-after": String(retryAfterSeconds) } }),
  // OpenAI's clients try a 504 again by themselves: what took too long once will again.
  requestTimeout: (message: string) =>
    new ApiError("request_timeout", message, { headers: { "x-should-retry": "false" } }),
  stuck: (description: string, seconds: number) =>
    new ApiError("stuck", `a step has taken ${Math.round(seconds)} s and still runs: ${description}`, {
      headers: { "retry-after": "10" },
    }),
  loading: () => new ApiError("loading", "the model is still loading", { headers: { "retry-after": "1" } }),
  draining: () =>
    new ApiError("draining", "the server is shutting down", { headers: { "retry-after": "5", connection: "close" } }),
};

const engineErrorCodes: Record<EngineErrorCode, ApiErrorCode> = {
  empty_prompt: "invalid_value",
  token_out_of_range: "invalid_value",
  context_overflow: "context_length_exceeded",
  cache_too_small: "cache_too_small",
  queue_full: "queue_full",
  queue_timeout: "queue_timeout",
  request_timeout: "request_timeout",
  duplicate_id: "internal_error",
  step_failed: "internal_error",
  closed: "draining",
};

/**
 * The API's view of anything thrown. What is not the client's fault becomes an internal error whose message tells nothing
 * of the inside; `cause` keeps the original for the log.
 *
 * @param promptParam the field that the prompt came from
 */
export function toApiError(error: unknown, promptParam: string | null = null): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof ChatTemplateError) {
    return new ApiError("chat_template_error", error.message, { param: promptParam, cause: error });
  }
  if (error instanceof EngineError) {
    const code = engineErrorCodes[error.code];
    if (code === "draining") return apiErrors.draining();
    if (code === "queue_full") return apiErrors.queueFull(error.message, error.retryAfterSeconds);
    if (code === "queue_timeout") return apiErrors.queueTimeout(error.message, error.retryAfterSeconds);
    if (code === "request_timeout") return apiErrors.requestTimeout(error.message);
    if (catalogue[code].status < 500) return new ApiError(code, error.message, { param: promptParam, cause: error });
  }
  return new ApiError("internal_error", "the server failed to answer this request", { cause: error });
}
