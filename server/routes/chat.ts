import { createRoute } from "@hono/zod-openapi";
import type { Context } from "hono";
import type { AppOptions } from "../app.ts";
import { requestedGrammar } from "../grammar/requested.ts";
import { encodeMessages, type ToolRendering } from "../messages.ts";
import { checkModel, generateRequests, newId, readBody } from "../requests.ts";
import { chatChunkSchema, chatRequestSchema, chatResponseSchema } from "../schemas/chat.ts";
import type { Serving } from "../serving.ts";
import { callGrammar, type ToolUse, toolUseOf } from "../tools/tool-use.ts";
import { answer } from "./answer.ts";
import { chatFormat } from "./chat-format.ts";
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
  const tools = toolUseOf(fields, serving);
  const rendering = { addGenerationPrompt: true, limited: true, ...(tools === null ? {} : toolRendering(tools)) };
  const prompt = await encodeMessages(fields.messages, serving, rendering, context.req.raw.signal);
  const id = newId("chatcmpl");
  const asked = fields.max_completion_tokens ?? fields.max_tokens;
  const maxTokens = (promptTokens: number) => asked ?? Math.max(1, serving.contextLength - promptTokens);
  const logprobs = fields.logprobs ? (fields.top_logprobs ?? 0) : undefined;
  const requests = generateRequests(serving, id, [prompt], fields, maxTokens, {
    grammar: tools?.forced
      ? await callGrammar(fields.tools ?? [], tools, serving)
      : await requestedGrammar(fields, serving),
    ...(logprobs === undefined ? {} : { logprobs }),
    ...(tools === null ? {} : { visibleTokens: markTokens(tools, serving) }),
  });
  const request = { fields, requests, promptTokens: prompt.length, promptParam: "messages" };
  return answer(context, serving, request, chatFormat(id, serving, tools), options);
}

/** What the prompt says of tools. */
function toolRendering({ templateTools, instruction, forced, format }: ToolUse): ToolRendering {
  return {
    ...(templateTools === undefined ? {} : { tools: templateTools }),
    ...(instruction === undefined ? {} : { instruction }),
    ...(forced ? { answer: format.forced.prompt } : {}),
  };
}

/** Where the marks of calls are special tokens, they have to be seen. */
function markTokens({ format }: ToolUse, { tokenizer }: Serving): number[] {
  return [...format.begins, ...format.ends].flatMap((mark) => tokenizer.specialToken(mark) ?? []);
}
