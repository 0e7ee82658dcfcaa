import type { z } from "@hono/zod-openapi";
import { errorSchema } from "../schemas/common.ts";

const errorContent = { "application/json": { schema: errorSchema } };

/** The error answers that any endpoint with a body may give, for the OpenAPI document. */
export const errorResponses = {
  400: {
    description: "A field is wrong or not supported, or the prompt does not fit the context",
    content: errorContent,
  },
  401: { description: "The server has API keys, and the request brought none of them", content: errorContent },
  404: { description: "The model is not served here", content: errorContent },
  413: { description: "The body is too large", content: errorContent },
  500: { description: "A fault of the server", content: errorContent },
  503: { description: "Loading, or shutting down; see Retry-After", content: errorContent },
};

/** The answers of an endpoint that generates: whole, as `stream: true` events of `chunk`, or an error. */
export function generationResponses(whole: z.ZodType, chunk: z.ZodType) {
  return {
    200: {
      description: "The whole answer; with `stream`, one server-sent event a token and `data: [DONE]` at the end",
      content: { "application/json": { schema: whole }, "text/event-stream": { schema: chunk } },
    },
    ...errorResponses,
  };
}
