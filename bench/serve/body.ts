import type { Endpoint } from "./command.ts";
import type { Prompt } from "./prompts.ts";

/** Fields that not every server takes. */
export interface Features {
  /** stream_options.include_usage */
  readonly usage: boolean;
  readonly ignoreEos: boolean;
  /** What a server calls the limit of an answer's tokens. */
  readonly limit: "max_tokens" | "max_completion_tokens";
}

export interface BodyOptions {
  readonly endpoint: Endpoint;
  readonly model: string;
  readonly features: Features;
  /** In the place of what is here otherwise; null takes a field out. */
  readonly extraBody: Readonly<Record<string, unknown>>;
}

/** A request's body, as JSON. */
export function bodyOf({ text, outputTokens }: Prompt, options: BodyOptions): string {
  const { endpoint, model, features, extraBody } = options;
  const fields: Readonly<Record<string, unknown>> = {
    model,
    ...(endpoint === "chat" ? { messages: [{ role: "user", content: text }] } : { prompt: text }),
    [features.limit]: outputTokens,
    temperature: 0,
    stream: true,
    ...(features.usage ? { stream_options: { include_usage: true } } : {}),
    ...(features.ignoreEos ? { ignore_eos: true } : {}),
    ...extraBody,
  };
  return JSON.stringify(Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null)));
}

/** Of `--url`, with or without /v1 at its end. */
export function baseOf(url: string): string {
  return url.replace(/\/+$/, "").replace(/\/v1$/, "");
}

export function endpointUrl(base: string, endpoint: Endpoint): string {
  return `${base}/v1/${endpoint === "chat" ? "chat/completions" : "completions"}`;
}
