import { literal, oneOf, Rules, sequence } from "./ebnf.ts";
import { GrammarError } from "./errors.ts";
import { integerRange } from "./integer-range.ts";
import { JsonRules } from "./json-rules.ts";
import { areDisjoint, resolvePointer } from "./schema-alternatives.ts";
import {
  checkKeywords,
  countOf,
  isOfType,
  type JsonType,
  join,
  listOf,
  numberOf,
  objectOf,
  type SchemaObject,
  typesOf,
} from "./schema-keywords.ts";

/** Deeper schemas are refused. */
const MOST_LEVELS = 64;
/** Schemas, counted with each place that they are at. */
const MOST_SCHEMAS = 4096;
/** Characters of a string, and items of an array, that may be counted: each count is a state of the grammar. */
const MOST_CHARACTERS = 64;
const MOST_ITEMS = 1024;

/** What may be asked of a string by `format`, within its quotes; months have 28 days that are sure to exist. */
const DATE = '[0-9]{4} "-" ("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | "1" [0-9] | "2" [0-8])';
const TIME = '("0" [0-9] | "1" [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{1,6})? "Z"';
const formats: Readonly<Record<string, string>> = {
  date: DATE,
  time: TIME,
  "date-time": `${DATE} "T" ${TIME}`,
  uuid: '[0-9a-f]{8} "-" [0-9a-f]{4} "-" [0-9a-f]{4} "-" [0-9a-f]{4} "-" [0-9a-f]{12}',
  ipv4: 'octet "." octet "." octet "." octet',
};
const OCTET = '"25" [0-5] | "2" [0-4] [0-9] | "1" [0-9] [0-9] | [1-9] [0-9] | [0-9]';

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

/** Makes an expression of each schema. Rules of a grammar that holds others too can be made with it. */
export class SchemaRules {
  readonly #rules: Rules;
  readonly #json: JsonRules;
  readonly #root: unknown;
  readonly #referenced = new Map<string, string>();
  /** References that are being followed and have written nothing yet. */
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
    checkKeywords(schema, path);
    this.#schemas += 1;
    if (level > MOST_LEVELS) throw new GrammarError(path, `is nested in more than ${MOST_LEVELS} schemas`);
    if (this.#schemas > MOST_SCHEMAS) throw new GrammarError(path, `the schema has more than ${MOST_SCHEMAS} parts`);
    if (schema === true) return this.#json.value;
    if (schema === false) throw new GrammarError(path, "false allows no value");
    if (schema.$ref !== undefined) return this.#reference(schema.$ref, join(path, "$ref"), level);
    for (const keyword of ["anyOf", "oneOf"]) {
      if (schema[keyword] !== undefined) return this.#alternatives(schema, keyword, path, level);
    }
    if (schema.enum !== undefined || schema.const !== undefined) return this.#values(schema, path);
    const names = typesOf(schema, path);
    const wanted = names.includes("number") ? names.filter((name) => name !== "integer") : names;
    return oneOf(wanted.map((type) => this.#typed(schema, type, path, level)));
  }

  #typed(schema: SchemaObject, type: JsonType, path: string, level: number): string {
    if (type === "object") return this.#rules.of("object", this.#object(schema, path, level));
    if (type === "array") return this.#rules.of("array", this.#array(schema, path, level));
    if (type === "string") return this.#string(schema, path);
    if (type === "boolean") return this.#json.boolean;
    return type === "null" ? '"null"' : this.#number(schema, type, path);
  }

  /** What is inside something else may refer to what it is in. */
  #within<T>(make: () => T): T {
    const outside = this.#following;
    this.#following = new Set();
    const made = make();
    this.#following = outside;
    return made;
  }

  #object(schema: SchemaObject, path: string, level: number): string {
    const properties = objectOf(schema, "properties", path);
    const required = (listOf(schema, "required", path) ?? []) as readonly string[];
    const wrong = required.findIndex((key) => typeof key !== "string");
    if (wrong >= 0) throw new GrammarError(join(join(path, "required"), wrong), "must be a string");
    const others = schema.additionalProperties ?? true;
    const keys = [...new Set([...Object.keys(properties), ...required])];
    if (keys.length === 0) {
      if (others === false) return `"{" ${this.#json.space} "}"`;
      return this.#json.mapOf(this.#within(() => this.of(others, join(path, "additionalProperties"), level + 1)));
    }
    const pairs = keys.map((key) => {
      const own = Object.hasOwn(properties, key);
      if (!own && others === false) {
        throw new GrammarError(join(path, "required"), `asks for ${JSON.stringify(key)}, which no property allows`);
      }
      const at = own ? join(join(path, "properties"), key) : join(path, "additionalProperties");
      const value = this.#within(() => this.of(own ? properties[key] : others, at, level + 1));
      return { text: this.#json.pair(key, value), optional: !required.includes(key) };
    });
    return `"{" ${this.#json.space} ${this.#members(pairs)} "}"`;
  }

  /**
   * Members in order, optional ones there or not. From the last to the first: `rest` is what may follow if some member is
   * there already, with its comma, and `first` what may come if none is.
   */
  #members(pairs: readonly { text: string; optional: boolean }[]): string {
    const comma = `"," ${this.#json.space}`;
    let rest = "";
    let first: string | null = "";
    for (const { text, optional } of pairs.toReversed()) {
      const here = sequence(text, rest);
      if (optional) {
        const later: string = first === null ? here : first === "" ? `(${here})?` : `(${here} | ${first})`;
        first = this.#rules.of("members", later);
        rest = this.#rules.of("members", rest === "" ? `(${comma} ${text})?` : `(${comma} ${here} | ${rest})`);
      } else {
        first = here;
        rest = sequence(comma, here);
      }
    }
    return first;
  }

  #array(schema: SchemaObject, path: string, level: number): string {
    const least = countOf(schema, "minItems", path) ?? 0;
    const most = countOf(schema, "maxItems", path);
    const tuple = listOf(schema, "prefixItems", path);
    if (most !== undefined && most < least) {
      throw new GrammarError(join(path, "maxItems"), `is ${most}, but minItems is ${least}`);
    }
    for (const [keyword, value] of Object.entries({ minItems: least, maxItems: most ?? 0 })) {
      if (value > MOST_ITEMS) throw new GrammarError(join(path, keyword), `is ${value}; ${MOST_ITEMS} is the most`);
    }
    if (tuple !== undefined) return this.#tuple(tuple, least, most, path, level);
    if (schema.items === false) return this.#json.listOf("", 0, 0);
    const item = this.#within(() => this.of(schema.items ?? true, join(path, "items"), level + 1));
    return this.#json.listOf(item, least, most);
  }

  /** All items of a tuple, and no more of them. */
  #tuple(items: readonly unknown[], least: number, most: number | undefined, path: string, level: number): string {
    if (least > items.length || (most !== undefined && most < items.length)) {
      throw new GrammarError(
        join(path, "prefixItems"),
        `has ${items.length} items: minItems and maxItems must allow just so many`,
      );
    }
    const { space } = this.#json;
    const parts = items.map((item, i) => {
      const at = join(join(path, "prefixItems"), i);
      return `${this.#within(() => this.of(item, at, level + 1))} ${space}`;
    });
    return `"[" ${space} ${parts.join(` "," ${space} `)} "]"`;
  }

  #string(schema: SchemaObject, path: string): string {
    const least = countOf(schema, "minLength", path);
    const most = countOf(schema, "maxLength", path);
    const { format } = schema;
    if (format !== undefined) {
      const known = typeof format === "string" && Object.hasOwn(formats, format) ? formats[format] : undefined;
      if (known === undefined) {
        const names = Object.keys(formats).join(", ");
        throw new GrammarError(join(path, "format"), `${JSON.stringify(format)} is not supported; there are ${names}`);
      }
      if (least !== undefined || most !== undefined) {
        throw new GrammarError(join(path, "format"), "does not go with minLength or maxLength");
      }
      const octet = this.#rules.of("octet", OCTET);
      return this.#rules.of("text", `"\\"" ${known.replaceAll("octet", octet)} "\\""`);
    }
    if (most === undefined && (least ?? 0) === 0) return this.#json.string;
    for (const [keyword, value] of Object.entries({ minLength: least ?? 0, maxLength: most ?? 0 })) {
      if (value <= MOST_CHARACTERS) continue;
      throw new GrammarError(join(path, keyword), `is ${value}; ${MOST_CHARACTERS} is the most that is supported`);
    }
    if (most !== undefined && most < (least ?? 0)) {
      throw new GrammarError(join(path, "maxLength"), `is ${most}, but minLength is ${least}`);
    }
    return this.#rules.of("string", this.#json.boundedString(least ?? 0, most));
  }

  #number(schema: SchemaObject, type: "integer" | "number", path: string): string {
    const multiple = numberOf(schema, "multipleOf", path);
    if (multiple !== undefined && (multiple !== 1 || type === "number")) {
      throw new GrammarError(join(path, "multipleOf"), "is not supported, but 1 for integers");
    }
    const bounds = ["minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"] as const;
    const [minimum, above, maximum, below] = bounds.map((keyword) => numberOf(schema, keyword, path));
    if (type === "number") {
      const other = bounds.find((keyword) => schema[keyword] !== undefined && keyword !== "minimum");
      if (other !== undefined || (minimum !== undefined && minimum !== 0)) {
        throw new GrammarError(
          join(path, other ?? "minimum"),
          "is not supported for numbers, but minimum 0; integers may have any",
        );
      }
      return minimum === 0 ? this.#json.unsigned : this.#json.number;
    }
    const largest = (a: number | undefined, b: number | undefined) => (a === undefined ? b : Math.max(a, b ?? a));
    const least = largest(
      minimum === undefined ? undefined : Math.ceil(minimum),
      above === undefined ? undefined : Math.floor(above) + 1,
    );
    const smallest = largest(
      maximum === undefined ? undefined : -Math.floor(maximum),
      below === undefined ? undefined : -(Math.ceil(below) - 1),
    );
    const most = smallest === undefined ? undefined : -smallest;
    if (least === undefined && most === undefined) return this.#json.integer;
    if (least !== undefined && most !== undefined && least > most) {
      throw new GrammarError(path, `allows no integer: the least is ${least}, the largest ${most}`);
    }
    const big = (value: number | undefined) => (value === undefined ? undefined : BigInt(value));
    return this.#rules.of("integer", `${oneOf(integerRange(big(least), big(most)))} (= [ \\n\\t]* [,}\\]])`);
  }

  #values(schema: SchemaObject, path: string): string {
    const keyword = schema.const === undefined ? "enum" : "const";
    const listed = keyword === "const" ? [schema.const] : listOf(schema, "enum", path);
    const names = schema.type === undefined ? undefined : typesOf(schema, path);
    const values = listed!.filter((value) => names === undefined || isOfType(value, names));
    if (values.length === 0) throw new GrammarError(join(path, keyword), "allows no value");
    return oneOf(values.map((value) => literal(JSON.stringify(value))));
  }

  #alternatives(schema: SchemaObject, keyword: string, path: string, level: number): string {
    const at = join(path, keyword);
    const parts = listOf(schema, keyword, path)!;
    if (parts.length === 0) throw new GrammarError(at, "must not be empty");
    const beside = ["type", "enum", "const", "anyOf", "oneOf", "properties", "required", "items", "minimum", "maximum"];
    const other = beside.find((name) => name !== keyword && schema[name] !== undefined);
    if (other !== undefined) throw new GrammarError(at, `is not supported beside "${other}"`);
    const clash = keyword === "oneOf" ? areDisjoint(parts, this.#root) : null;
    if (clash !== null) {
      throw new GrammarError(
        at,
        `items ${clash[0]} and ${clash[1]} may allow the same value, which is not supported; use anyOf`,
      );
    }
    return oneOf(parts.map((part, i) => this.of(part, join(at, i), level + 1)));
  }

  #reference(reference: unknown, path: string, level: number): string {
    if (typeof reference !== "string" || !/^#(\/|$)/.test(reference)) {
      throw new GrammarError(
        path,
        `must be a place in the schema, as "#/$defs/name", not ${JSON.stringify(reference)}`,
      );
    }
    if (this.#following.has(reference)) throw new GrammarError(path, "leads back to itself");
    const known = this.#referenced.get(reference);
    if (known !== undefined) return known;
    const target = resolvePointer(this.#root, reference);
    if (target === undefined) throw new GrammarError(path, `there is no ${reference}`);
    const name = this.#rules.reserve("ref");
    this.#referenced.set(reference, name);
    this.#following.add(reference);
    this.#rules.define(name, this.of(target, reference, level + 1));
    this.#following.delete(reference);
    return name;
  }
}
