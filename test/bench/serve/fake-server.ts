import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A request's body, as far as the fake cares. */
export interface Asked {
  readonly max_tokens?: number;
  readonly ignore_eos?: boolean;
  readonly stream_options?: { readonly include_usage?: boolean };
  readonly messages?: readonly { readonly content: string }[];
  readonly prompt?: string;
  readonly [field: string]: unknown;
}

export interface Received {
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: Asked;
}

/** What to do with the n-th request, counted from 0. */
export type Behaviour = (response: ServerResponse, body: Asked, n: number) => void;

export const event = (value: unknown) => `data: ${typeof value === "string" ? value : JSON.stringify(value)}\n\n`;
export const piece = (content: string, finish_reason: string | null = null) =>
  event({ choices: [{ index: 0, delta: { content }, text: content, finish_reason }] });
export const usage = (completion_tokens: number, prompt_tokens = 9) =>
  event({ choices: [], usage: { prompt_tokens, completion_tokens } });
export const DONE = event("[DONE]");

export function stream(response: ServerResponse, ...events: readonly string[]): ServerResponse {
  response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
  response.flushHeaders();
  for (const one of events) response.write(one);
  return response;
}

/** As many tokens as were asked for, a word each; prompts count as a token a word and four of a template. */
export function answer(response: ServerResponse, { max_tokens = 1, messages, prompt, stream_options }: Asked): void {
  const pieces = Array.from({ length: max_tokens }, (_, i) => piece(`word${i} `));
  const words = (messages?.[0]?.content ?? prompt ?? "").split(" ").length;
  const counted = stream_options?.include_usage === true ? [usage(max_tokens, words + 4)] : [];
  stream(response, ...pieces, piece("", "length"), ...counted, DONE).end();
}

/** A server that does what it is told, on a port of its own. */
export async function fakeServer(behaviour: Behaviour) {
  const received: Received[] = [];
  const server = createServer(async (request, response) => {
    const path = request.url!;
    if (path === "/v1/models") {
      response.writeHead(200, { "content-type": "application/json" }).end('{"data":[{"id":"fake-model"}]}');
      return;
    }
    let text = "";
    for await (const part of request) text += part;
    const body = JSON.parse(text) as Asked;
    const n = received.push({ path, headers: request.headers, body }) - 1;
    behaviour(response, body, n);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received,
    close: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    },
  };
}
