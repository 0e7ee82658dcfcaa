import { GrammarError } from "./errors.ts";

export type Schema = boolean | SchemaObject;
export type SchemaObject = Readonly<Record<string, unknown>>;

export const types = ["object", "array", "string", "integer", "number", "boolean", "null"] as const;
export type JsonType = (typeof types)[number];

/** Which keywords say something about values of a type, of those that are supported. */
const ofType: Readonly<Record<JsonType, readonly string[]>> = {
  object: ["properties", "required", "additionalProperties", "propertyNames"],
  array: ["items", "prefixItems", "minItems", "maxItems"],
  string: ["minLength", "maxLength", "pattern", "format"],
  integer: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"],
  number: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"],
  boolean: [],
  null: [],
};

/** Those that JSON Schema has (2020-12 and draft 7) and that cannot be kept to here. Unknown ones say nothing. */
const refused = [
  ..."not if then else dependentSchemas dependentRequired dependencies patternProperties".split(" "),
  ..."unevaluatedProperties unevaluatedItems minProperties maxProperties contains minContains maxContains".split(" "),
  ..."uniqueItems additionalItems contentSchema $dynamicRef $recursiveRef".split(" "),
];

/** Values that change nothing. */
const neutral: Readonly<Record<string, (value: unknown) => boolean>> = {
  uniqueItems: (value) => value === false,
  minProperties: (value) => value === 0,
  unevaluatedProperties: (value) => value === true,
  unevaluatedItems: (value) => value === true,
  not: (value) => typeof value === "object" && value !== null && "not" in value && isEmpty((value as SchemaObject).not),
};

function isEmpty(schema: unknown): boolean {
  return schema === true || (typeof schema === "object" && schema !== null && Object.keys(schema).length === 0);
}

/** Throws GrammarError for a schema that is none, or has a keyword that is not supported. */
export function checkKeywords(schema: unknown, path: string): asserts schema is Schema {
  if (typeof schema === "boolean") return;
  if (typeof schema !== "object" || schema === null || Array.isArray(schema)) {
    throw new GrammarError(path, "must be a schema: an object, true or false");
  }
  for (const keyword of refused) {
    const value = (schema as SchemaObject)[keyword];
    if (value === undefined || neutral[keyword]?.(value)) continue;
    throw new GrammarError(join(path, keyword), `"${keyword}" is not supported`);
  }
}

/** The types that a schema names; undefined if it names none. */
export function typesOf(schema: SchemaObject, path: string): readonly JsonType[] | undefined {
  const { type } = schema;
  if (type === undefined) return undefined;
  const names = Array.isArray(type) ? type : [type];
  const wrong = names.find((name) => !types.includes(name));
  if (wrong !== undefined || names.length === 0) {
    throw new GrammarError(
      join(path, "type"),
      `must be one or several of ${types.join(", ")}, not ${JSON.stringify(type)}`,
    );
  }
  return [...new Set(names as JsonType[])];
}

/** The types that schemas without any are meant for: those that their keywords are about; all if there are none. */
export function impliedTypes(schemas: readonly SchemaObject[]): readonly JsonType[] {
  const all = types.filter((name) => name !== "integer");
  const meant = all.filter((name) => ofType[name].some((keyword) => schemas.some((schema) => keyword in schema)));
  return meant.length > 0 ? meant : all;
}

/** The types of both; integers are numbers. */
export function commonTypes(a: readonly JsonType[], b: readonly JsonType[]): readonly JsonType[] {
  const has = (names: readonly JsonType[], name: JsonType) =>
    names.includes(name) || (name === "integer" && names.includes("number"));
  return types.filter((name) => has(a, name) && has(b, name) && (a.includes(name) || b.includes(name)));
}

/** Whether a value is of one of the types. */
export function isOfType(value: unknown, names: readonly JsonType[]): boolean {
  const kind = value === null ? "null" : Array.isArray(value) ? "array" : typeof value;
  return names.some((name) => name === kind || (name === "integer" && Number.isInteger(value)));
}

/** A whole number of at least 0, if it is there. */
export function countOf(schema: SchemaObject, keyword: string, path: string): number | undefined {
  const value = schema[keyword];
  if (value === undefined) return undefined;
  if (Number.isInteger(value) && (value as number) >= 0) return value as number;
  throw new GrammarError(join(path, keyword), `must be a whole number of at least 0, not ${JSON.stringify(value)}`);
}

/** A number, if it is there. */
export function numberOf(schema: SchemaObject, keyword: string, path: string): number | undefined {
  const value = schema[keyword];
  if (value === undefined) return undefined;
  if (typeof value === "number") return value;
  throw new GrammarError(join(path, keyword), `must be a number, not ${JSON.stringify(value)}`);
}

export function objectOf(schema: SchemaObject, keyword: string, path: string): SchemaObject {
  const value = schema[keyword] ?? {};
  if (typeof value === "object" && !Array.isArray(value)) return value as SchemaObject;
  throw new GrammarError(join(path, keyword), "must be an object");
}

export function listOf(schema: SchemaObject, keyword: string, path: string): readonly unknown[] | undefined {
  const value = schema[keyword];
  if (value === undefined || Array.isArray(value)) return value;
  throw new GrammarError(join(path, keyword), "must be an array");
}

/** The path of what is under a keyword, a key, or an index. */
export function join(path: string, key: string | number): string {
  if (typeof key === "number") return `${path}[${key}]`;
  const plain = /^[\w$-]+$/.test(key) ? key : JSON.stringify(key);
  return path === "" ? plain : `${path}.${plain}`;
}
