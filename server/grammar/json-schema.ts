import { literal, oneOf, Rules } from "./ebnf.ts";
import { GrammarError, NothingAllowedError } from "./errors.ts";
import { JsonRules } from "./json-rules.ts";
import { clashOf } from "./schema-alternatives.ts";
import { arrayExpression } from "./schema-arrays.ts";
import { commonTypes, impliedTypes, type JsonType, join, listOf, typesOf } from "./schema-keywords.ts";
import { numberExpression } from "./schema-numbers.ts";
import { objectExpression } from "./schema-objects.ts";
import { expand, type Part, type Placed, without } from "./schema-parts.ts";
import { stringExpression } from "./schema-strings.ts";
import { satisfiesAll } from "./schema-values.ts";

/** Deeper schemas are refused. */
const MOST_LEVELS = 64;
/** Schemas, counted with each place that they are at. */
const MOST_SCHEMAS = 4096;

/** The grammar of any JSON object. */
export function anyObjectGrammar(): string {
  const rules = new Rules();
  return rules.toString(new JsonRules(rules).object);
}

/**
 * The grammar of the JSON texts that satisfy a schema (of JSON Schema 2020-12 or draft 7). Not of all such texts: members
 * come in the order of `properties`, and an object that names properties has no others but those that it requires. Throws
 * GrammarError, with the path, for what is wrong or not supported.
 */
export function schemaGrammar(schema: unknown): string {
  const rules = new Rules();
  return rules.toString(new SchemaRules(rules, schema).of(schema, "", 0));
}

/**
 * Makes an expression of each schema. Rules of a grammar that holds others too can be made with it. What must hold together
 * (`allOf`, a reference and what is beside it, alternatives and what is beside them) is a list of parts, and what they say of
 * a type is made one expression: no keyword is dropped.
 */
export class SchemaRules {
  readonly #rules: Rules;
  readonly #json: JsonRules;
  readonly #root: unknown;
  /** Of parts that a reference led to, by their ids. */
  readonly #referenced = new Map<string, string>();
  /** Of these, those that are being followed and have written nothing yet. */
  #following = new Set<string>();
  #schemas = 0;

  /** `root` is what references lead into. */
  constructor(rules: Rules, root: unknown) {
    this.#rules = rules;
    this.#json = new JsonRules(rules);
    this.#root = root;
  }

  /** An expression: the name of a rule, or alternatives in parentheses. Adds rules. Throws GrammarError. */
  of(schema: unknown, path: string, level: number): string {
    return this.#all([{ schema, path }], level);
  }

  #all(placed: readonly Placed[], level: number): string {
    const { path } = placed[0]!;
    this.#schemas += 1;
    if (level > MOST_LEVELS) throw new GrammarError(path, `is nested in more than ${MOST_LEVELS} schemas`);
    if (this.#schemas > MOST_SCHEMAS) throw new GrammarError(path, `the schema has more than ${MOST_SCHEMAS} parts`);
    const { parts, reference } = expand(placed, this.#root);
    if (reference === null) return this.#together(parts, path, level);
    const id = parts.map((part) => part.id).join(" and ");
    if (this.#following.has(id)) throw new GrammarError(reference, "leads back to itself");
    const known = this.#referenced.get(id);
    if (known !== undefined) return known;
    const name = this.#rules.reserve("ref");
    this.#referenced.set(id, name);
    this.#following.add(id);
    try {
      this.#rules.define(name, this.#together(parts, parts[0]?.path ?? path, level + 1));
    } catch (error) {
      this.#referenced.delete(id);
      throw error;
    } finally {
      this.#following.delete(id);
    }
    return name;
  }

  #together(parts: readonly Part[], path: string, level: number): string {
    if (parts.length === 0) return this.#json.value;
    for (const keyword of ["anyOf", "oneOf"]) {
      const index = parts.findIndex(({ schema }) => schema[keyword] !== undefined);
      if (index >= 0) return this.#alternatives(parts, index, keyword, level);
    }
    if (parts.some(({ schema }) => schema.enum !== undefined || schema.const !== undefined)) return this.#values(parts);
    return oneOf(this.#types(parts, path).map((type) => this.#typed(parts, type, path, level)));
  }

  #types(parts: readonly Part[], path: string): readonly JsonType[] {
    const named = parts.flatMap(({ schema, path: at }) => {
      const names = typesOf(schema, at);
      return names ? [names] : [];
    });
    if (named.length === 0) return impliedTypes(parts.map(({ schema }) => schema));
    const common = named.reduce(commonTypes);
    if (common.length === 0) {
      throw new NothingAllowedError(join(path, "type"), `no type is in all of ${JSON.stringify(named)}`);
    }
    return common.includes("number") ? common.filter((name) => name !== "integer") : common;
  }

  #typed(parts: readonly Part[], type: JsonType, path: string, level: number): string {
    const [rules, json] = [this.#rules, this.#json];
    const make = (placed: readonly Placed[]) => this.#within(() => this.#all(placed, level + 1));
    if (type === "object") return rules.of("object", objectExpression(parts, this.#root, rules, json, make));
    if (type === "array") return rules.of("array", arrayExpression(parts, path, json, make));
    if (type === "string") return stringExpression(parts, path, rules, json);
    if (type === "boolean") return json.boolean;
    return type === "null" ? '"null"' : numberExpression(parts, type, path, rules, json);
  }

  /** What is inside something else may refer to what it is in. */
  #within<T>(make: () => T): T {
    const outside = this.#following;
    this.#following = new Set();
    try {
      return make();
    } finally {
      this.#following = outside;
    }
  }

  /** Listed values, those that satisfy everything else too. */
  #values(parts: readonly Part[]): string {
    const { schema, path } = parts.find(({ schema }) => schema.enum !== undefined || schema.const !== undefined)!;
    const keyword = schema.const === undefined ? "enum" : "const";
    const listed = keyword === "const" ? [schema.const] : listOf(schema, "enum", path)!;
    const values = listed.filter((value) => satisfiesAll(value, parts, this.#root));
    if (values.length === 0) throw new NothingAllowedError(join(path, keyword), "allows no value");
    return oneOf(values.map((value) => literal(JSON.stringify(value))));
  }

  /** Each alternative together with what is beside it; those that nothing satisfies then are left out, unless all are. */
  #alternatives(parts: readonly Part[], index: number, keyword: string, level: number): string {
    const part = parts[index]!;
    const at = join(part.path, keyword);
    const listed = listOf(part.schema, keyword, part.path)!;
    if (listed.length === 0) throw new GrammarError(at, "must not be empty");
    const left = without(part, keyword);
    const beside = [...parts.slice(0, index), left, ...parts.slice(index + 1)].filter(
      ({ schema }) => Object.keys(schema).length > 0,
    );
    const clash = keyword === "oneOf" ? clashOf(listed, beside, this.#root) : null;
    if (clash !== null) {
      throw new GrammarError(
        at,
        `items ${clash[0]} and ${clash[1]} may allow the same value, which is not supported; use anyOf`,
      );
    }
    const refused: NothingAllowedError[] = [];
    const made = listed.flatMap((schema, i) => {
      try {
        return this.#all([{ schema, path: join(at, i) }, ...beside], level + 1);
      } catch (error) {
        if (!(error instanceof NothingAllowedError)) throw error;
        refused.push(error);
        return [];
      }
    });
    if (made.length === 0 || (refused.length > 0 && beside.length === 0)) throw refused[0]!;
    return oneOf(made);
  }
}
