import { createRoute } from "@hono/zod-openapi";
import type { Context } from "hono";
import type { AppOptions } from "../app.ts";
import type { ChoiceEvent } from "../choices.ts";
import type { FinishReason } from "../engine/types.ts";
import { characters, completionLogprobs } from "../logprobs.ts";
import { checkModel, encodePrompt, generateRequests, newId, readBody } from "../requests.ts";
import { type CompletionRequest, completionRequestSchema, completionResponseSchema } from "../schemas/completions.ts";
import type { Serving } from "../serving.ts";
import { type AnswerFormat, answer } from "./answer.ts";
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
  const prompts = await promptIds(fields.prompt, serving, context.req.raw.signal);
  const id = newId("cmpl");
  const maxTokens = fields.max_tokens ?? DEFAULT_MAX_TOKENS;
  const logprobs = typeof fields.logprobs === "number" ? fields.logprobs : undefined;
  const requests = generateRequests(serving, id, prompts, fields, () => maxTokens, logprobs);
  const promptTokens = prompts.reduce((sum, prompt) => sum + prompt.length, 0);
  const request = { fields, requests, promptTokens, promptParam: "prompt" };
  return answer(context, serving, request, completionFormat(id, serving), options);
}

/** Each prompt as token ids. Strings get what the tokenizer puts around a text, ids are taken as they are. */
async function promptIds(
  prompt: CompletionRequest["prompt"],
  { prompts, contextLength }: Serving,
  signal: AbortSignal,
): Promise<number[][]> {
  const given = typeof prompt === "string" ? [prompt] : prompt;
  if (given.every((item) => typeof item === "number")) return [given];
  const texts = given.filter((item) => typeof item === "string");
  if (texts.length === 0) return given as number[][];
  return encodePrompt(prompts.encode(texts, { contextLength }, signal), "prompt", signal);
}

type Logprobs = ReturnType<typeof completionLogprobs>;

function completionFormat(id: string, { name: model, tokenizer }: Serving): AnswerFormat {
  const created = Math.floor(Date.now() / 1000);
  const choiceOf = (index: number, text: string, finishReason: FinishReason | null, logprobs: Logprobs = null) => {
    return { index, text, logprobs, finish_reason: finishReason };
  };
  const offsets = new Map<number, number>();
  const streamedLogprobs = ({ index, event }: ChoiceEvent): Logprobs => {
    const offset = offsets.get(index) ?? 0;
    const logprobs = completionLogprobs(tokenizer, [event], offset);
    if (logprobs !== null) offsets.set(index, offset + characters(logprobs.tokens[0]!));
    return logprobs;
  };
  const envelope = (choices: readonly object[]) => ({ id, object: "text_completion", created, model, choices });
  return {
    tokenChunks: (choice) => {
      const { text, finishReason } = choice.event;
      return [choiceOf(choice.index, text, finishReason, streamedLogprobs(choice))];
    },
    emptyChunks: (index) => [choiceOf(index, "", "length")],
    chunk: (choice, usage) => withUsage(envelope(choice === null ? [] : [choice]), usage),
    whole: (choices, usage) => ({
      ...envelope(
        choices.map(({ index, text, finishReason, events }) => {
          return choiceOf(index, text, finishReason, completionLogprobs(tokenizer, events));
        }),
      ),
      usage,
    }),
  };
}

/** The chunk with a `usage` field, unless there is none to have: then clients must not see the key. */
export function withUsage(chunk: object, usage: object | null | undefined): object {
  return usage === undefined ? chunk : { ...chunk, usage };
}
