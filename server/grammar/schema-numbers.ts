import { type Bound, decimalRange } from "./decimal-range.ts";
import type { Rules } from "./ebnf.ts";
import { GrammarError, NothingAllowedError } from "./errors.ts";
import { integerRange } from "./integer-range.ts";
import { type JsonRules, VALUE_END } from "./json-rules.ts";
import { languageRules, numberWays } from "./language-rules.ts";
import { join, numberOf } from "./schema-keywords.ts";
import type { Part } from "./schema-parts.ts";
import { regularLanguage } from "./string-language.ts";

/** An expression for the numbers that all parts allow; `path` is where they stand together. */
export function numberExpression(
  parts: readonly Part[],
  type: "integer" | "number",
  path: string,
  rules: Rules,
  json: JsonRules,
): string {
  for (const { schema, path: at } of parts) {
    const multiple = numberOf(schema, "multipleOf", at);
    if (multiple !== undefined && (multiple !== 1 || type === "number")) {
      throw new GrammarError(join(at, "multipleOf"), "is not supported, but 1 for integers");
    }
  }
  const { least, most } = boundsOf(parts);
  if (least === undefined && most === undefined) return type === "integer" ? json.integer : json.number;
  if (type === "number" && least?.value === 0 && !least.exclusive && most === undefined) return json.unsigned;
  return rules.cached(JSON.stringify([type, least, most]), () => {
    const digits = type === "integer" ? integers(least, most, path) : decimals(least, most, path);
    const language = regularLanguage(`^(?:${digits.join("|")})$`, path);
    return languageRules(language, { ways: numberWays, end: '""', after: VALUE_END }, rules, path);
  });
}

/** The largest lower bound of all parts, and the smallest upper one. */
export function boundsOf(parts: readonly Part[]): { least: Bound | undefined; most: Bound | undefined } {
  const bounds = (keyword: string, exclusive: boolean): Bound[] =>
    parts.flatMap(({ schema, path }) => {
      const value = numberOf(schema, keyword, path);
      return value === undefined ? [] : [{ value, exclusive }];
    });
  const tightest = (sign: 1 | -1, all: Bound[]) =>
    all.sort((a, b) => sign * (b.value - a.value) || Number(b.exclusive) - Number(a.exclusive))[0];
  return {
    least: tightest(1, [...bounds("minimum", false), ...bounds("exclusiveMinimum", true)]),
    most: tightest(-1, [...bounds("maximum", false), ...bounds("exclusiveMaximum", true)]),
  };
}

function integers(low: Bound | undefined, high: Bound | undefined, path: string): string[] {
  for (const bound of [low, high]) {
    if (bound?.exclusive && Math.abs(bound.value) > Number.MAX_SAFE_INTEGER) {
      throw new GrammarError(path, `an exclusive bound of ${bound.value} is too large to be exact`);
    }
  }
  const least = low && (low.exclusive ? Math.floor(low.value) + 1 : Math.ceil(low.value));
  const most = high && (high.exclusive ? Math.ceil(high.value) - 1 : Math.floor(high.value));
  if (least !== undefined && most !== undefined && least > most) {
    throw new NothingAllowedError(path, `allows no integer: the least is ${least}, the largest ${most}`);
  }
  const big = (value: number | undefined) => (value === undefined ? undefined : BigInt(value));
  return integerRange(big(least), big(most));
}

function decimals(least: Bound | undefined, most: Bound | undefined, path: string): string[] {
  const digits = decimalRange(least, most, path);
  if (digits.length > 0) return digits;
  throw new NothingAllowedError(path, `allows no number between ${said(least)} and ${said(most)}`);
}

function said(bound: Bound | undefined): string {
  return bound === undefined ? "any" : `${bound.value}${bound.exclusive ? " (exclusive)" : ""}`;
}
