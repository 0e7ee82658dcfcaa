import { GrammarError, NothingAllowedError } from "./errors.ts";
import { resolvePointer } from "./schema-alternatives.ts";
import { checkKeywords, join, listOf, type SchemaObject } from "./schema-keywords.ts";

/** A schema where it stands. */
export interface Placed {
  readonly schema: unknown;
  readonly path: string;
}

/** One of the schemas that a value must satisfy together. */
export interface Part {
  readonly schema: SchemaObject;
  readonly path: string;
  /** The same for the same schema, reached by the same path. */
  readonly id: string;
}

/** What must hold together, with `allOf` and references written out. */
export interface Expansion {
  readonly parts: readonly Part[];
  /** The last reference that was followed, where it stands; null if none was. */
  readonly reference: string | null;
}

/** Says nothing about values: what is left of such a schema is no part. */
const silent = new Set(["$defs", "definitions", "$schema", "$id", "$comment", "title", "description", "default"]);

/**
 * Writes out what schemas say together. A schema beside `$ref` holds too, as in 2020-12. Throws GrammarError for what is wrong,
 * and NothingAllowedError for `false`.
 */
export function expand(placed: readonly Placed[], root: unknown): Expansion {
  const parts = new Map<string, Part>();
  let reference: string | null = null;
  const visit = ({ schema, path }: Placed, following: readonly string[]): void => {
    checkKeywords(schema, path);
    if (schema === true) return;
    if (schema === false) throw new NothingAllowedError(path, "false allows no value");
    const { $ref, allOf: _, ...own } = schema;
    if (Object.keys(own).some((keyword) => !silent.has(keyword))) parts.set(path, { schema: own, path, id: path });
    for (const [i, each] of (listOf(schema, "allOf", path) ?? []).entries()) {
      visit({ schema: each, path: join(join(path, "allOf"), i) }, following);
    }
    if ($ref === undefined) return;
    const at = join(path, "$ref");
    reference = at;
    const target = targetOf($ref, at, root);
    if (following.includes(target.path)) throw new GrammarError(at, "leads back to itself");
    visit(target, [...following, target.path]);
  };
  for (const each of placed) visit(each, []);
  return { parts: [...parts.values()], reference };
}

/** A part without one of its keywords. */
export function without(part: Part, keyword: string): Part {
  const { [keyword]: _, ...schema } = part.schema;
  return { schema, path: part.path, id: `${part.id} without ${keyword}` };
}

export function targetOf(reference: unknown, path: string, root: unknown): Placed & { readonly path: string } {
  if (typeof reference !== "string" || !/^#(\/|$)/.test(reference)) {
    throw new GrammarError(path, `must be a place in the schema, as "#/$defs/name", not ${JSON.stringify(reference)}`);
  }
  const schema = resolvePointer(root, reference);
  if (schema === undefined) throw new GrammarError(path, `there is no ${reference}`);
  return { schema, path: reference };
}
