import { createRoute } from "@hono/zod-openapi";
import type { Context } from "hono";
import type { AppOptions } from "../app.ts";
import { chooseBest } from "../best-of.ts";
import { EchoedPrompt } from "../echo.ts";
import type { FinishReason, TokenEvent } from "../engine/types.ts";
import { apiErrors } from "../errors.ts";
import { requestedGrammar } from "../grammar/requested.ts";
import { type CompletionLogprobs, CompletionLogprobsWriter, joinLogprobs, scoredTokens } from "../logprobs.ts";
import { checkModel, encodePrompt, generateRequests, newId, readBody } from "../requests.ts";
import { type CompletionRequest, completionRequestSchema, completionResponseSchema } from "../schemas/completions.ts";
import type { Serving } from "../serving.ts";
import { type AnswerFormat, answer, type WholeChoice } from "./answer.ts";
import { generationResponses } from "./responses.ts";

/** As OpenAI's legacy endpoint. */
const DEFAULT_MAX_TOKENS = 16;

export const completionsRoute = createRoute({
  method: "post",
  path: "/v1/completions",
  summary: "Continue one or more prompts",
  request: { body: { required: true, content: { "application/json": { schema: completionRequestSchema } } } },
  responses: generationResponses(completionResponseSchema, completionResponseSchema),
});

export async function completions(context: Context, serving: Serving, options: AppOptions): Promise<Response> {
  const fields = await readBody(context, completionRequestSchema, options.bodyLimitBytes);
  checkModel(serving, fields.model);
  const given = promptsOf(fields.prompt);
  const prompts = await promptIds(given, serving, context.req.raw.signal);
  const id = newId("cmpl");
  const maxTokens = fields.max_tokens ?? DEFAULT_MAX_TOKENS;
  const logprobs = typeof fields.logprobs === "number" ? fields.logprobs : undefined;
  const n = fields.n ?? 1;
  const bestOf = bestOfChoices(fields, n);
  // Choices are ranked by them, asked for or not.
  const needed = logprobs ?? (bestOf > n ? 0 : undefined);
  const echoes = fields.echo ? prompts.map((ids, i) => new EchoedPrompt(given[i]!, ids, serving.tokenizer)) : null;
  const requests = generateRequests(serving, id, prompts, fields, () => maxTokens, {
    choices: bestOf,
    grammar: await requestedGrammar(fields, serving),
    ...(needed === undefined ? {} : { logprobs: needed }),
    ...(echoes === null || logprobs === undefined ? {} : { prompt: (i: number) => echoes[i]!.request(logprobs) }),
  });
  const promptTokens = prompts.reduce((sum, prompt) => sum + prompt.length, 0);
  const choose = (choices: readonly WholeChoice[]) => chooseBest(choices, bestOf, n);
  const request = { fields, requests, promptTokens, promptParam: "prompt", ...(bestOf > n ? { choose } : {}) };
  const format = completionFormat(id, serving, {
    logprobs: logprobs !== undefined,
    echoOf: (index) => echoes?.[Math.floor(index / n)] ?? null,
  });
  return answer(context, serving, request, format, options);
}

/** How many choices are made of each prompt, to give the best `n`. Throws ApiError. */
function bestOfChoices({ best_of, stream }: CompletionRequest, n: number): number {
  const bestOf = best_of ?? n;
  if (bestOf < n) throw apiErrors.invalidValue("best_of", `best_of: ${bestOf} is less than n, which is ${n}`);
  if (stream && bestOf > n) {
    const message = `best_of: which ${n} of ${bestOf} choices are the best is known at the end; they cannot be streamed`;
    throw apiErrors.invalidValue("best_of", message);
  }
  return bestOf;
}

/** A request's prompts, one by one. */
function promptsOf(prompt: CompletionRequest["prompt"]): (string | number[])[] {
  if (typeof prompt === "string") return [prompt];
  return isIds(prompt) ? [prompt] : prompt;
}

function isIds(prompt: readonly unknown[]): prompt is number[] {
  return prompt.every((item) => typeof item === "number");
}

/** Each prompt as token ids. Strings get what the tokenizer puts around a text, ids are taken as they are. */
async function promptIds(
  given: readonly (string | number[])[],
  { prompts, contextLength }: Serving,
  signal: AbortSignal,
): Promise<number[][]> {
  const texts = given.filter((item) => typeof item === "string");
  if (texts.length === 0) return given as number[][];
  return encodePrompt(prompts.encode(texts, { contextLength }, signal), "prompt", signal);
}

interface CompletionShape {
  readonly logprobs: boolean;
  /** What comes before the text of this choice. */
  readonly echoOf: (index: number) => EchoedPrompt | null;
}

function completionFormat(
  id: string,
  { name: model, tokenizer }: Serving,
  { logprobs, echoOf }: CompletionShape,
): AnswerFormat {
  const created = Math.floor(Date.now() / 1000);
  const envelope = (choices: readonly object[]) => ({ id, object: "text_completion", created, model, choices });
  const choiceOf = (
    index: number,
    text: string,
    finishReason: FinishReason | null,
    scores: CompletionLogprobs | null = null,
  ) => ({ index, text, logprobs: scores, finish_reason: finishReason });
  const writerFor = (index: number) => new CompletionLogprobsWriter(tokenizer, { echo: echoOf(index) !== null });
  const generated = (writer: CompletionLogprobsWriter, events: readonly TokenEvent[]) =>
    writer.write(scoredTokens(events), { skipSpecialTokens: true });

  const writers = new Map<number, CompletionLogprobsWriter>();
  /** Of the streamed choice. */
  const writerOf = (index: number) => {
    const writer = writers.get(index) ?? writerFor(index);
    writers.set(index, writer);
    return writer;
  };
  const echoChunks = (index: number) => {
    const echo = echoOf(index);
    if (echo === null) return [];
    return [choiceOf(index, echo.text, null, logprobs ? echo.logprobs(writerOf(index)) : null)];
  };
  return {
    tokenChunks: ({ index, event }, first) => {
      // In this order: the prompt's offsets come first.
      const echoed = first ? echoChunks(index) : [];
      const scores = logprobs ? generated(writerOf(index), [event]) : null;
      return [...echoed, choiceOf(index, event.text, event.finishReason, scores)];
    },
    emptyChunks: (index) => [...echoChunks(index), choiceOf(index, "", "length")],
    chunk: (choice, usage) => withUsage(envelope(choice === null ? [] : [choice]), usage),
    whole: (choices, usage) => {
      const whole = choices.map(({ index, text, finishReason, events }) => {
        const echo = echoOf(index);
        const writer = writerFor(index);
        const parts = logprobs ? [...(echo === null ? [] : [echo.logprobs(writer)]), generated(writer, events)] : [];
        const scores = parts.some(({ tokens }) => tokens.length > 0) ? joinLogprobs(parts) : null;
        return choiceOf(index, (echo?.text ?? "") + text, finishReason, scores);
      });
      return { ...envelope(whole), usage };
    },
  };
}

/** The chunk with a `usage` field, unless there is none to have: then clients must not see the key. */
export function withUsage(chunk: object, usage: object | null | undefined): object {
  return usage === undefined ? chunk : { ...chunk, usage };
}
