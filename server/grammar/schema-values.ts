import { isDeepStrictEqual } from "node:util";
import { GrammarError } from "./errors.ts";
import { countOf, isOfType, join, listOf, objectOf, type SchemaObject, typesOf } from "./schema-keywords.ts";
import { boundsOf } from "./schema-numbers.ts";
import { expand, type Part, type Placed } from "./schema-parts.ts";
import { languagesOf } from "./schema-strings.ts";
import { isIn } from "./string-language.ts";

/** References that lead into each other without end. */
const MOST_LEVELS = 64;

/** Whether a value that is written down satisfies all the schemas. Throws GrammarError for what is wrong in them. */
export function satisfiesAll(value: unknown, placed: readonly Placed[], root: unknown, level = 0): boolean {
  if (placed.some(({ schema }) => schema === false)) return false;
  if (level > MOST_LEVELS) throw new GrammarError(placed[0]!.path, `is nested in more than ${MOST_LEVELS} schemas`);
  return expand(placed, root).parts.every((part) => satisfies(value, part, root, level));
}

function satisfies(value: unknown, part: Part, root: unknown, level: number): boolean {
  const { schema, path } = part;
  const inside = (what: unknown, each: unknown, at: string) =>
    satisfiesAll(what, [{ schema: each, path: at }], root, level + 1);
  const alternatives = (keyword: string) =>
    listOf(schema, keyword, path)?.filter((each, i) => inside(value, each, join(join(path, keyword), i))).length;
  const names = typesOf(schema, path);
  if (names && !isOfType(value, names)) return false;
  if (!(listOf(schema, "enum", path)?.some((listed) => isDeepStrictEqual(listed, value)) ?? true)) return false;
  if (schema.const !== undefined && !isDeepStrictEqual(schema.const, value)) return false;
  if (alternatives("anyOf") === 0 || (alternatives("oneOf") ?? 1) !== 1) return false;
  if (typeof value === "number") return numberSatisfies(value, part);
  if (typeof value === "string") return stringSatisfies(value, part);
  if (Array.isArray(value)) return arraySatisfies(value, part, inside);
  return typeof value !== "object" || value === null || objectSatisfies(value as SchemaObject, part, inside);
}

type Inside = (what: unknown, schema: unknown, path: string) => boolean;

function numberSatisfies(value: number, part: Part): boolean {
  const { least, most } = boundsOf([part]);
  const { multipleOf } = part.schema;
  if (typeof multipleOf === "number" && !Number.isInteger(value / multipleOf)) return false;
  if (least && (least.exclusive ? value <= least.value : value < least.value)) return false;
  return !most || (most.exclusive ? value < most.value : value <= most.value);
}

function stringSatisfies(value: string, part: Part): boolean {
  const { schema, path } = part;
  const length = Array.from(value).length;
  if (length < (countOf(schema, "minLength", path) ?? 0)) return false;
  if (length > (countOf(schema, "maxLength", path) ?? length)) return false;
  return languagesOf([part]).every((language) => isIn(language, value));
}

function arraySatisfies(value: readonly unknown[], { schema, path }: Part, inside: Inside): boolean {
  if (value.length < (countOf(schema, "minItems", path) ?? 0)) return false;
  if (value.length > (countOf(schema, "maxItems", path) ?? value.length)) return false;
  const tuple = listOf(schema, "prefixItems", path) ?? [];
  return value.every((item, i) => {
    if (i < tuple.length) return inside(item, tuple[i], join(join(path, "prefixItems"), i));
    return inside(item, schema.items ?? true, join(path, "items"));
  });
}

function objectSatisfies(value: SchemaObject, { schema, path }: Part, inside: Inside): boolean {
  const properties = objectOf(schema, "properties", path);
  const required = listOf(schema, "required", path) ?? [];
  if (!required.every((key) => typeof key === "string" && Object.hasOwn(value, key))) return false;
  return Object.entries(value).every(([key, each]) => {
    if (schema.propertyNames !== undefined && !inside(key, schema.propertyNames, join(path, "propertyNames"))) {
      return false;
    }
    if (Object.hasOwn(properties, key)) return inside(each, properties[key], join(join(path, "properties"), key));
    return inside(each, schema.additionalProperties ?? true, join(path, "additionalProperties"));
  });
}
