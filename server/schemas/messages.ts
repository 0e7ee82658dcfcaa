import { z } from "@hono/zod-openapi";
import { UNSUPPORTED } from "./common.ts";
import { listOf } from "./large.ts";

/** More than a context has tokens to show them. */
const MAX_MESSAGES = 16_384;

const roles = ["system", "developer", "user", "assistant", "tool"];

export const toolCallSchema = z.object({
  id: z.string().nullish(),
  type: z.literal("function").nullish(),
  function: z.object({ name: z.string(), arguments: z.string() }),
});

/** A piece of a content; what an assistant refused to say is text too. */
interface TextPart {
  readonly type: "text" | "refusal";
  readonly text?: string;
  readonly refusal?: string;
}

interface Fault {
  readonly path: readonly (string | number)[];
  readonly message: string;
  readonly unsupported?: boolean;
}

const contentSchema = z
  .custom<string | readonly TextPart[] | null | undefined>()
  .superRefine((content, context) => {
    const fault = contentFault(content);
    if (fault === null) return;
    const { path, message, unsupported } = fault;
    context.addIssue({ code: "custom", path: [...path], message, ...(unsupported ? { params: UNSUPPORTED } : {}) });
  })
  .optional()
  .openapi({
    type: ["string", "array", "null"],
    anyOf: [
      { type: "string" },
      {
        type: "array",
        items: {
          type: "object",
          required: ["type", "text"],
          properties: { type: { type: "string", enum: ["text"] }, text: { type: "string" } },
        },
      },
      { type: "null" },
    ],
    description: "Text, or parts of type text, which are joined by line feeds; null for an assistant that said nothing",
  });

function contentFault(content: unknown): Fault | null {
  if (content === null || content === undefined || typeof content === "string") return null;
  if (!Array.isArray(content)) return { path: [], message: "must be a string or an array of parts of type text" };
  for (const [i, part] of content.entries()) {
    const { type } = Object(part) as { type?: unknown };
    if (typeof type !== "string") return { path: [i], message: "must be an object with a type" };
    if (type !== "text" && type !== "refusal") {
      const message = `is "${type}": models here read text only, parts must be of type text`;
      return { path: [i, "type"], message, unsupported: true };
    }
    if (typeof part[type] !== "string") return { path: [i, type], message: "must be a string" };
  }
  return null;
}

const messageSchema = z
  .object({
    role: z
      .string()
      .refine((role) => role !== "function", {
        error: 'is not supported: results of tools have the role "tool"',
        params: UNSUPPORTED,
      })
      .refine((role) => [...roles, "function"].includes(role), { error: `must be one of ${roles.join(", ")}` })
      .openapi({ enum: roles }),
    content: contentSchema,
    name: z.string().nullish().openapi({ description: "Who speaks, for templates that show it" }),
    reasoning_content: z
      .string()
      .nullish()
      .openapi({ description: "What an assistant thought before it answered, for templates that show it" }),
    tool_calls: z.array(toolCallSchema).nullish(),
    tool_call_id: z.string().nullish().openapi({ description: "Of a tool's result: the call that it answers" }),
  })
  .superRefine(({ role, content }, context) => {
    if (role === "assistant" || (content !== null && content !== undefined)) return;
    const message = `must be a string or an array of parts of type text; only an assistant's may be null, not a ${role}'s`;
    context.addIssue({ code: "custom", path: ["content"], message });
  })
  .openapi("ChatMessage");

export const messagesSchema = listOf(messageSchema, MAX_MESSAGES).refine((messages) => messages.length > 0, {
  error: "must not be empty",
});

export type Message = z.output<typeof messageSchema>;
