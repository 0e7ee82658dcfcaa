import { GrammarError, NothingAllowedError } from "./errors.ts";
import type { JsonRules } from "./json-rules.ts";
import { countOf, join, listOf } from "./schema-keywords.ts";
import type { Part, Placed } from "./schema-parts.ts";

/** Each count of items is a state of the grammar. */
const MOST_ITEMS = 1024;

/** An expression for the arrays that all parts allow; `make` gives that of what is inside. */
export function arrayExpression(
  parts: readonly Part[],
  path: string,
  json: JsonRules,
  make: (placed: readonly Placed[]) => string,
): string {
  const { least, most } = countsOf(parts, path);
  const tuples = parts.map(({ schema, path: at }) => listOf(schema, "prefixItems", at) ?? []);
  const length = Math.max(...tuples.map((tuple) => tuple.length));
  const itemAt = (index: number): Placed[] =>
    parts.map(({ schema, path: at }, i) => {
      const tuple = tuples[i]!;
      if (index < tuple.length) return { schema: tuple[index], path: join(join(at, "prefixItems"), index) };
      return { schema: schema.items ?? true, path: join(at, "items") };
    });
  if (length > 0) {
    if (least > length || (most !== undefined && most < length)) {
      const at = join(parts[tuples.findIndex((tuple) => tuple.length === length)]!.path, "prefixItems");
      throw new GrammarError(at, `has ${length} items: minItems and maxItems must allow just so many`);
    }
    const items = Array.from({ length }, (_, i) => `${make(itemAt(i))} ${json.space}`);
    return `"[" ${json.space} ${items.join(` "," ${json.space} `)} "]"`;
  }
  const item = itemAt(0);
  if (most === 0 || (item.some(({ schema }) => schema === false) && least === 0)) return json.listOf("", 0, 0);
  return json.listOf(make(item), least, most);
}

function countsOf(parts: readonly Part[], path: string): { least: number; most: number | undefined } {
  const counts = (keyword: string) =>
    parts.flatMap(({ schema, path: at }) => {
      const count = countOf(schema, keyword, at) ?? [];
      if (typeof count !== "number" || count <= MOST_ITEMS) return count;
      throw new GrammarError(join(at, keyword), `is ${count}; ${MOST_ITEMS} is the most`);
    });
  const least = Math.max(0, ...counts("minItems"));
  const uppers = counts("maxItems");
  const most = uppers.length === 0 ? undefined : Math.min(...uppers);
  if (most !== undefined && most < least) {
    throw new NothingAllowedError(join(path, "maxItems"), `is ${most}, but minItems is ${least}`);
  }
  return { least, most };
}
