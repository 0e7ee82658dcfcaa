import type { Context } from "hono";
import type { Logger } from "pino";
import { AnswerTally } from "../answer-tally.ts";
import type { Tenant } from "../api-keys.ts";
import type { AppOptions } from "../app.ts";
import { type ChoiceEvent, startChoices } from "../choices.ts";
import type { FinishReason, GenerateRequest, TokenEvent } from "../engine/types.ts";
import { apiErrors, toApiError } from "../errors.ts";
import type { GenerationFields, usageOf } from "../requests.ts";
import type { Serving } from "../serving.ts";
import { type EventStreamOptions, eventStream, eventStreamHeaders } from "../sse.ts";

export interface WholeChoice {
  readonly index: number;
  readonly text: string;
  readonly finishReason: FinishReason;
  /** Its tokens, in order. */
  readonly events: readonly TokenEvent[];
}

export type Usage = ReturnType<typeof usageOf>;

/** How an endpoint writes its answers. */
export interface AnswerFormat {
  /** The choice objects of the chunks that a token gives, in order; `first` for the first token of its choice. */
  tokenChunks(event: ChoiceEvent, first: boolean): object[];
  /** The choice objects of the chunks for a choice that ends without a token. */
  emptyChunks(index: number): object[];
  /** Puts a choice object, or none, into a chunk. */
  chunk(choice: object | null, usage: Usage | null | undefined): object;
  whole(choices: readonly WholeChoice[], usage: Usage): object;
}

export interface AnswerRequest {
  readonly fields: GenerationFields;
  readonly requests: readonly GenerateRequest[];
  /** Of all prompts, each counted once. */
  readonly promptTokens: number;
  /** The field that the prompt came from, for errors. */
  readonly promptParam: string;
  /** Of a whole answer's choices, those to give, numbered anew. Default: all. */
  readonly choose?: (choices: readonly WholeChoice[]) => readonly WholeChoice[];
}

/** Runs the sequences of a request and answers in `format`, streamed or whole. Throws ApiError. */
export async function answer(
  context: Context,
  serving: Serving,
  request: AnswerRequest,
  format: AnswerFormat,
  options: AppOptions,
): Promise<Response> {
  const left = new AbortController();
  const clientGone = context.req.raw.signal;
  clientGone.addEventListener("abort", () => left.abort(), { once: true });
  if (clientGone.aborted) left.abort();
  const requestLog = context.get("requestLog");
  const tally = new AnswerTally(request.promptTokens, request.requests);
  const sumUp = () => requestLog.note(tally.summary(left.signal.aborted ? "abort" : "error"));
  if (options.logPrompts) logPrompts(requestLog.log, request, serving);
  try {
    const requests = ofTenant(request.requests, context.get("tenant"), options.cacheSaltPerKey ?? false);
    const events = await startChoices(serving.engine, requests, left.signal, (index, summary) =>
      tally.ended(index, summary),
    );
    if (!request.fields.stream) return context.json(await wholeAnswer(events, request, format, tally).finally(sumUp));
    requestLog.defer();
    const body = eventStream(events, {
      ...streamedAnswer(request, format, tally),
      pingMs: options.pingMs,
      onCancel: () => left.abort(),
      onEnd: () => {
        sumUp();
        requestLog.end();
      },
      toErrorBody: (error) => {
        const apiError = toApiError(error, request.promptParam);
        const ours = apiError.status >= 500 && apiError.status !== 503 && !left.signal.aborted;
        if (ours) requestLog.log.error({ err: error }, "stream failed");
        return apiError.body;
      },
    });
    return context.body(body, 200, eventStreamHeaders);
  } catch (error) {
    if (left.signal.aborted) throw apiErrors.clientClosed();
    throw toApiError(error, request.promptParam);
  }
}

/** What the engine is to know of the sender: whom the request counts against, and whose cached prompts it may use. */
function ofTenant(
  requests: readonly GenerateRequest[],
  tenant: Tenant | undefined,
  salted: boolean,
): readonly GenerateRequest[] {
  if (tenant === undefined) return requests;
  return requests.map((request) => {
    const salt = salted ? { cacheSalt: `${tenant.hash} ${request.cacheSalt ?? ""}` } : {};
    return { ...request, tenant: tenant.id, ...salt };
  });
}

/** Each prompt as the model sees it. */
function logPrompts(log: Logger, { requests }: AnswerRequest, { tokenizer }: Serving): void {
  for (const promptIds of new Set(requests.map((request) => request.promptIds))) {
    log.info({ prompt: tokenizer.decode(promptIds) }, "prompt");
  }
}

async function wholeAnswer(
  events: AsyncIterable<ChoiceEvent>,
  request: AnswerRequest,
  format: AnswerFormat,
  tally: AnswerTally,
) {
  const tokens = request.requests.map((): TokenEvent[] => []);
  for await (const choice of events) {
    tally.count(choice);
    tokens[choice.index]!.push(choice.event);
  }
  const choices = tokens.map((events, index) => {
    const text = events.map((event) => event.text).join("");
    return { index, text, finishReason: events.at(-1)?.finishReason ?? "length", events };
  });
  return format.whole(request.choose?.(choices) ?? choices, tally.usage);
}

/** The chunks of each token, and those at the end. */
function streamedAnswer(
  request: AnswerRequest,
  format: AnswerFormat,
  tally: AnswerTally,
): Pick<EventStreamOptions<ChoiceEvent>, "chunksOf" | "lastChunks"> {
  const includeUsage = request.fields.stream_options?.include_usage ?? false;
  const noUsage = includeUsage ? null : undefined;
  const silent = new Set(request.requests.keys());
  return {
    chunksOf: (event) => {
      tally.count(event);
      const first = silent.delete(event.index);
      return format.tokenChunks(event, first).map((choice) => format.chunk(choice, noUsage));
    },
    lastChunks: () => {
      const empty = [...silent].flatMap((index) => format.emptyChunks(index));
      const chunks = empty.map((choice) => format.chunk(choice, noUsage));
      return includeUsage ? [...chunks, format.chunk(null, tally.usage)] : chunks;
    },
  };
}
