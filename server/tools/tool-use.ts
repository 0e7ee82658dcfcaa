import type { TokenGrammar } from "../engine/types.ts";
import { apiErrors } from "../errors.ts";
import { literal, oneOf, Rules } from "../grammar/ebnf.ts";
import { GrammarError } from "../grammar/errors.ts";
import { SchemaRules } from "../grammar/json-schema.ts";
import { compileGrammar } from "../grammar/requested.ts";
import type { ChatRequest, Tool } from "../schemas/chat.ts";
import type { Serving } from "../serving.ts";
import { detectToolFormat, knowsTools, type ToolFormat, toolFormatNames, toolFormats } from "./formats.ts";

/** How a request's answer may call tools. */
export interface ToolUse {
  readonly format: ToolFormat;
  readonly names: ReadonlySet<string>;
  /** For the chat template; none if it knows no tools. */
  readonly templateTools: readonly Tool[] | undefined;
  /** What stands in for them, as a system message. */
  readonly instruction: string | undefined;
  readonly forced: boolean;
  readonly mostCalls: number | undefined;
}

type ToolFields = Pick<ChatRequest, "tools" | "tool_choice" | "parallel_tool_calls" | "response_format">;

/** Null if the answer is to call no tools. Throws ApiError for tools that cannot be used with this model. */
export function toolUseOf(fields: ToolFields, { name, tokenizer, toolCallParser }: Serving): ToolUse | null {
  const tools = fields.tools ?? [];
  const choice = fields.tool_choice ?? "auto";
  const forced = choice === "required" || typeof choice === "object";
  if (tools.length === 0 && forced) {
    throw apiErrors.invalidValue("tool_choice", "tool_choice: asks for a call, but there are no tools");
  }
  if (tools.length === 0 || choice === "none") return null;
  const names = new Set(tools.map((tool) => tool.function.name));
  if (typeof choice === "object" && !names.has(choice.function.name)) {
    const message = `tool_choice: "${choice.function.name}" is not among the tools ${[...names].join(", ")}`;
    throw apiErrors.invalidValue("tool_choice.function.name", message);
  }
  if (forced && fields.response_format && fields.response_format.type !== "text") {
    throw apiErrors.invalidValue(
      "response_format",
      "response_format: does not go with a tool_choice that asks for a call",
    );
  }
  const template = tokenizer.info.chatTemplate ?? "";
  const inTemplate = knowsTools(template);
  if (!inTemplate && !forced) {
    const message = `tools: the chat template of model "${name}" knows no tools; a call can only be enforced, by tool_choice "required" or a named function`;
    throw apiErrors.unsupported("tools", message);
  }
  const detected = toolCallParser ?? (inTemplate ? detectToolFormat(template) : "llama3_json");
  if (detected === undefined) {
    const message = `tools: how model "${name}" writes calls is not known; start the server with --tool-call-parser ${toolFormatNames.join(" or ")}`;
    throw apiErrors.unsupported("tools", message);
  }
  const format = toolFormats[detected];
  const one = typeof choice === "object" || fields.parallel_tool_calls === false;
  return {
    format,
    names: typeof choice === "object" ? new Set([choice.function.name]) : names,
    templateTools: inTemplate ? tools : undefined,
    instruction: inTemplate ? undefined : instructionFor(tools, format),
    forced,
    mostCalls: one ? 1 : undefined,
  };
}

/** The grammar of a forced call, or of several: what follows the mark that the prompt ends with. */
export function callGrammar(tools: readonly Tool[], use: ToolUse, serving: Serving): Promise<TokenGrammar> {
  return compileGrammar(serving, "tools", () => {
    const rules = new Rules();
    const { open, separator, close } = use.format.forced;
    const calls = tools.flatMap((tool, i) => {
      const { name, parameters } = tool.function;
      if (!use.names.has(name)) return [];
      const schema = parameters ?? { type: "object", properties: {}, additionalProperties: false };
      const before = literal(`{"name": ${JSON.stringify(name)}, "${use.format.argumentsKey}": `);
      return [`${before} ${argumentsOf(rules, schema, i)} "}"`];
    });
    const call = rules.of("call", oneOf(calls));
    const more = use.mostCalls === 1 ? "" : `(${literal(separator)} ${call})*`;
    const parts = [open, call, more, close].map((part, i) =>
      i === 1 || i === 2 || part === "" ? part : literal(part),
    );
    return rules.toString(parts.filter((part) => part !== "").join(" "));
  });
}

function argumentsOf(rules: Rules, schema: unknown, index: number): string {
  const path = `[${index}].function.parameters`;
  try {
    const named = { type: "object", ...(schema as object) };
    return new SchemaRules(rules, named).of(named, "", 0);
  } catch (error) {
    if (!(error instanceof GrammarError)) throw error;
    const reason = error.path === "" ? error.message : error.message.slice(error.path.length + 2);
    throw new GrammarError(error.path === "" ? path : `${path}.${error.path}`, reason);
  }
}

function instructionFor(tools: readonly Tool[], { argumentsKey }: ToolFormat): string {
  const listed = tools.map((tool) => JSON.stringify(tool.function)).join("\n");
  return `Answer by calling one of these functions, as JSON: {"name": ..., "${argumentsKey}": {...}}\n${listed}`;
}
