import { createRoute } from "@hono/zod-openapi";
import type { Context } from "hono";
import type { AppOptions } from "../app.ts";
import { chatLogprobs } from "../logprobs.ts";
import { encodeMessages } from "../messages.ts";
import { checkModel, generateRequests, newId, readBody } from "../requests.ts";
import { chatChunkSchema, chatRequestSchema, chatResponseSchema } from "../schemas/chat.ts";
import type { Serving } from "../serving.ts";
import { type AnswerFormat, answer } from "./answer.ts";
import { withUsage } from "./completions.ts";
import { generationResponses } from "./responses.ts";

export const chatRoute = createRoute({
  method: "post",
  path: "/v1/chat/completions",
  summary: "Answer a conversation",
  request: { body: { required: true, content: { "application/json": { schema: chatRequestSchema } } } },
  responses: generationResponses(chatResponseSchema, chatChunkSchema),
});

export async function chat(context: Context, serving: Serving, options: AppOptions): Promise<Response> {
  const fields = await readBody(context, chatRequestSchema, options.bodyLimitBytes);
  checkModel(serving, fields.model);
  const rendering = { addGenerationPrompt: true, limited: true };
  const prompt = await encodeMessages(fields.messages, serving, rendering, context.req.raw.signal);
  const id = newId("chatcmpl");
  const asked = fields.max_completion_tokens ?? fields.max_tokens;
  const maxTokens = (promptTokens: number) => asked ?? Math.max(1, serving.contextLength - promptTokens);
  const logprobs = fields.logprobs ? (fields.top_logprobs ?? 0) : undefined;
  const requests = generateRequests(serving, id, [prompt], fields, maxTokens, {
    ...(logprobs === undefined ? {} : { logprobs }),
  });
  const request = { fields, requests, promptTokens: prompt.length, promptParam: "messages" };
  return answer(context, serving, request, chatFormat(id, serving), options);
}

function chatFormat(id: string, { name: model, tokenizer }: Serving): AnswerFormat {
  const created = Math.floor(Date.now() / 1000);
  const delta = (index: number, delta: object, finishReason: string | null = null, logprobs: object | null = null) => {
    return { index, delta, logprobs, finish_reason: finishReason };
  };
  const role = (index: number) => delta(index, { role: "assistant", content: "" });
  const envelope = (object: string, choices: readonly object[]) => ({ id, object, created, model, choices });
  return {
    tokenChunks: ({ index, event }, first) => [
      ...(first ? [role(index)] : []),
      delta(index, { content: event.text }, null, chatLogprobs(tokenizer, [event])),
      ...(event.finishReason === null ? [] : [delta(index, {}, event.finishReason)]),
    ],
    emptyChunks: (index) => [role(index), delta(index, {}, "length")],
    chunk: (choice, usage) => withUsage(envelope("chat.completion.chunk", choice === null ? [] : [choice]), usage),
    whole: (choices, usage) => {
      const whole = choices.map(({ index, text, finishReason, events }) => ({
        index,
        message: { role: "assistant", content: text, refusal: null },
        logprobs: chatLogprobs(tokenizer, events),
        finish_reason: finishReason,
      }));
      return { ...envelope("chat.completion", whole), usage };
    },
  };
}
