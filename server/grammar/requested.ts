import type { TokenGrammar } from "../engine/types.ts";
import { ApiError, apiErrors } from "../errors.ts";
import type { GenerationFields } from "../requests.ts";
import type { Serving } from "../serving.ts";
import { GrammarError } from "./errors.ts";
import { anyObjectGrammar, schemaGrammar } from "./json-schema.ts";

/** The grammar that `response_format` asks for, if it asks for one. Rejects with ApiError that names the place in it. */
export async function requestedGrammar(
  { response_format: format }: GenerationFields,
  serving: Serving,
): Promise<TokenGrammar | undefined> {
  if (!format || format.type === "text") return undefined;
  if (format.type === "json_object") return compileGrammar(serving, "response_format", anyObjectGrammar);
  const { schema } = format.json_schema;
  if (schema === null || schema === undefined) return compileGrammar(serving, "response_format", anyObjectGrammar);
  return compileGrammar(serving, "response_format.json_schema.schema", () => schemaGrammar(schema));
}

/** Makes and compiles a grammar. Rejects with ApiError, of the field `param`. */
export async function compileGrammar(
  { grammars, tokenizer, name }: Serving,
  param: string,
  make: () => string,
): Promise<TokenGrammar> {
  if (tokenizer.eosTokenIds.length === 0) {
    throw apiErrors.unsupported(param, `${param}: model "${name}" has no end token, so no grammar can be enforced`);
  }
  try {
    return await grammars.compile(make());
  } catch (error) {
    if (!(error instanceof GrammarError)) throw error;
    const inside = error.path !== "";
    const dot = inside && !error.path.startsWith("[") ? "." : "";
    const message = `${param}${inside ? dot : ": "}${error.message}`;
    throw new ApiError("invalid_value", message, { param: `${param}${dot}${error.path}` });
  }
}
