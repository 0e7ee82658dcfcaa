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
 * Whether no value satisfies two of the schemas, as far as can be told from their types, their listed values, and a member
 * with listed values that both require. Null, or the first two of which it cannot be told.
 */
export function areDisjoint(schemas: readonly unknown[], root: unknown): [number, number] | null {
  for (const [i, first] of schemas.entries()) {
    for (const [j, second] of schemas.entries()) {
      if (j > i && mayMeet(resolved(first, root), resolved(second, root), root)) return [i, j];
    }
  }
  return null;
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
  return typesOf(schema, "").map((name) => (name === "integer" ? "number" : name));
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
