import type { Rules } from "./ebnf.ts";
import { GrammarError, NothingAllowedError } from "./errors.ts";
import type { JsonRules } from "./json-rules.ts";
import { stringOfLanguage } from "./language-rules.ts";
import { countOf, join } from "./schema-keywords.ts";
import type { Part } from "./schema-parts.ts";
import { formatLanguage, formatNames } from "./string-formats.ts";
import { intersection, lengthLanguage, patternLanguage, type StringLanguage } from "./string-language.ts";

/** Longer bounds are refused; beside a pattern or a format each character is a state, and fewer are possible. */
const MOST_CHARACTERS = 4096;

/** An expression for the strings that all parts allow; `path` is where they stand together. */
export function stringExpression(parts: readonly Part[], path: string, rules: Rules, json: JsonRules): string {
  const { least, most } = lengthsOf(parts, path);
  const languages = languagesOf(parts);
  if (languages.length === 0) {
    return least === 0 && most === undefined ? json.string : rules.of("text", json.boundedString(least, most));
  }
  if (least > 0 || most !== undefined) languages.push(lengthLanguage(least, most, path));
  const language = intersection(languages, path);
  if (language.isEmpty) throw new NothingAllowedError(path, "no string is of its patterns, format and length at once");
  const key = JSON.stringify(["string", ...parts.map(({ schema }) => [schema.pattern, schema.format]), least, most]);
  return rules.cached(key, () => stringOfLanguage(language, rules, json, path));
}

/** Of patterns and formats. Beside a pattern, a format holds if it is known and they have a string in common. */
export function languagesOf(parts: readonly Part[]): StringLanguage[] {
  const patterns = parts.flatMap(({ schema, path }) => {
    const { pattern } = schema;
    if (pattern === undefined) return [];
    const at = join(path, "pattern");
    if (typeof pattern !== "string") throw new GrammarError(at, `must be a string, not ${JSON.stringify(pattern)}`);
    return [patternLanguage(pattern, at)];
  });
  const formats = parts.flatMap(({ schema, path }) => {
    const { format } = schema;
    if (format === undefined) return [];
    const known = typeof format === "string" ? formatLanguage(format) : undefined;
    if (known !== undefined) return [known];
    if (patterns.length > 0 && typeof format === "string") return [];
    const names = formatNames.join(", ");
    throw new GrammarError(
      join(path, "format"),
      `${JSON.stringify(format)} is not supported without a pattern; there are ${names}`,
    );
  });
  if (patterns.length === 0 || formats.length === 0) return [...patterns, ...formats];
  const all = [...patterns, ...formats];
  return intersection(all, parts[0]!.path).isEmpty ? patterns : all;
}

function lengthsOf(parts: readonly Part[], path: string): { least: number; most: number | undefined } {
  const counts = (keyword: string) =>
    parts.flatMap(({ schema, path: at }) => {
      const count = countOf(schema, keyword, at) ?? [];
      if (typeof count !== "number" || count <= MOST_CHARACTERS) return count;
      throw new GrammarError(join(at, keyword), `is ${count}; ${MOST_CHARACTERS} is the most that is supported`);
    });
  const least = Math.max(0, ...counts("minLength"));
  const uppers = counts("maxLength");
  const most = uppers.length === 0 ? undefined : Math.min(...uppers);
  if (most !== undefined && most < least) {
    throw new NothingAllowedError(join(path, "maxLength"), `is ${most}, but minLength is ${least}`);
  }
  return { least, most };
}
