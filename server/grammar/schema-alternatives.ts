import { type SchemaObject, typesOf } from "./schema-keywords.ts";

/** What a JSON pointer of the form "#/a/b" leads to; undefined if nothing. */
export function resolvePointer(root: unknown, reference: string): unknown {
  const keys = reference.split("/").slice(1);
  return keys.reduce<unknown>((at, key) => {
    const name = decoded(key).replaceAll("~1", "/").replaceAll("~0", "~");
    return typeof at === "object" && at !== null && Object.hasOwn(at, name) ? (at as SchemaObject)[name] : undefined;
  }, root);
}

/**
 * Whether no value satisfies two of the schemas, together with those beside them, as far as can be told from types, listed
 * values, and a member with listed values that both require. Null, or the first two of which it cannot be told.
 */
export function clashOf(
  schemas: readonly unknown[],
  beside: readonly { readonly schema: SchemaObject }[],
  root: unknown,
): [number, number] | null {
  const whole = schemas.map((schema) => {
    const one = resolved(schema, root);
    return isObject(one) ? beside.reduce((all, { schema: next }) => outline(next, all), one) : one;
  });
  for (const [i, first] of whole.entries()) {
    for (const [j, second] of whole.entries()) {
      if (j > i && mayMeet(first, second, root)) return [i, j];
    }
  }
  return null;
}

/** What tells schemas apart: of both, the second's where both say something. */
function outline(a: SchemaObject, b: SchemaObject): SchemaObject {
  const required = [a, b].flatMap(({ required: names }) => (Array.isArray(names) ? names : []));
  const properties = {
    ...(isObject(a.properties) ? a.properties : {}),
    ...(isObject(b.properties) ? b.properties : {}),
  };
  return { ...a, ...b, required, properties };
}

function mayMeet(a: unknown, b: unknown, root: unknown): boolean {
  if (!isObject(a) || !isObject(b)) return a !== false && b !== false;
  const [valuesA, valuesB] = [valuesOf(a), valuesOf(b)];
  if (valuesA && valuesB) return valuesA.some((value) => valuesB.includes(value));
  if (a.type === undefined || b.type === undefined) return true;
  const typesOfB = kindsOf(b);
  if (!kindsOf(a).some((name) => typesOfB.includes(name))) return false;
  return !isObject(a.properties) || !isObject(b.properties) || !haveDiscriminator(a, b, root);
}

function haveDiscriminator(a: SchemaObject, b: SchemaObject, root: unknown): boolean {
  const required = (schema: SchemaObject) => (Array.isArray(schema.required) ? schema.required : []);
  return required(a).some((key) => {
    if (!required(b).includes(key)) return false;
    const [inA, inB] = [a, b].map((schema) => resolved((schema.properties as SchemaObject)[key], root));
    const [valuesA, valuesB] = [valuesOf(inA), valuesOf(inB)];
    return valuesA !== null && valuesB !== null && !valuesA.some((value) => valuesB.includes(value));
  });
}

function kindsOf(schema: SchemaObject): readonly string[] {
  return (typesOf(schema, "") ?? []).map((name) => (name === "integer" ? "number" : name));
}

/** As JSON. */
function valuesOf(schema: unknown): string[] | null {
  if (!isObject(schema)) return null;
  if (schema.const !== undefined) return [JSON.stringify(schema.const)];
  return Array.isArray(schema.enum) ? schema.enum.map((value) => JSON.stringify(value)) : null;
}

function resolved(schema: unknown, root: unknown): unknown {
  const reference = isObject(schema) ? schema.$ref : undefined;
  return typeof reference === "string" && reference.startsWith("#") ? resolvePointer(root, reference) : schema;
}

function isObject(value: unknown): value is SchemaObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
