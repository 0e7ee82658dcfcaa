import { type Rules, sequence } from "./ebnf.ts";
import { GrammarError, NothingAllowedError } from "./errors.ts";
import type { JsonRules } from "./json-rules.ts";
import { join, listOf, objectOf } from "./schema-keywords.ts";
import type { Part, Placed } from "./schema-parts.ts";
import { satisfiesAll } from "./schema-values.ts";

interface Pair {
  readonly text: string;
  readonly optional: boolean;
}

/**
 * An expression for objects that all parts allow: members in the order of `properties`, and no others but those required, if
 * a part has properties or requires any. `make` gives the expression of what is inside.
 */
export function objectExpression(
  parts: readonly Part[],
  root: unknown,
  rules: Rules,
  json: JsonRules,
  make: (placed: readonly Placed[]) => string,
): string {
  const properties = parts.map(({ schema, path }) => objectOf(schema, "properties", path));
  const required = new Map(parts.flatMap(requiredBy));
  const names = parts.flatMap(({ schema, path }): Placed[] =>
    schema.propertyNames === undefined ? [] : [{ schema: schema.propertyNames, path: join(path, "propertyNames") }],
  );
  const others = parts.map(
    ({ schema, path }): Placed => ({
      schema: schema.additionalProperties ?? true,
      path: join(path, "additionalProperties"),
    }),
  );
  const keys = [...new Set([...properties.flatMap((each) => Object.keys(each)), ...required.keys()])];
  if (keys.length === 0) {
    if (others.some(({ schema }) => schema === false)) return `"{" ${json.space} "}"`;
    const key =
      names.length === 0 ? json.string : make([{ schema: { type: "string" }, path: names[0]!.path }, ...names]);
    return json.mapOf(key, make(others));
  }
  const pairs = keys.flatMap((key): Pair[] => {
    const values = parts.map(({ path }, i): Placed => {
      const own = properties[i]!;
      return Object.hasOwn(own, key) ? { schema: own[key], path: join(join(path, "properties"), key) } : others[i]!;
    });
    const never = values.some(({ schema }) => schema === false) || !satisfiesAll(key, names, root);
    const at = required.get(key);
    if (never && at === undefined) return [];
    if (never) throw new NothingAllowedError(at!, `asks for ${JSON.stringify(key)}, which no property allows`);
    return [{ text: json.pair(key, make(values)), optional: at === undefined }];
  });
  return `"{" ${json.space} ${members(pairs, rules, json)} "}"`;
}

function requiredBy({ schema, path }: Part): [string, string][] {
  const at = join(path, "required");
  return (listOf(schema, "required", path) ?? []).map((key, i) => {
    if (typeof key !== "string") throw new GrammarError(join(at, i), "must be a string");
    return [key, at];
  });
}

/**
 * Members in order, optional ones there or not. From the last to the first: `rest` is what may follow if some member is
 * there already, with its comma, and `first` what may come if none is.
 */
function members(pairs: readonly Pair[], rules: Rules, json: JsonRules): string {
  const comma = `"," ${json.space}`;
  let rest = "";
  let first = "";
  for (const { text, optional } of pairs.toReversed()) {
    const here = sequence(text, rest);
    if (optional) {
      first = rules.of("members", first === "" ? `(${here})?` : `(${here} | ${first})`);
      rest = rules.of("members", rest === "" ? `(${comma} ${text})?` : `(${comma} ${here} | ${rest})`);
    } else {
      first = here;
      rest = sequence(comma, here);
    }
  }
  return first;
}
