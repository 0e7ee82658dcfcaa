import { literal, type Rules } from "./ebnf.ts";

/** A character inside a string that needs no escape. */
export const PLAIN_CHARACTER = "[^\\u0022\\u005c\\u0000-\\u001f]";

const STRING_END = "(= [ \\n\\t]* [,}\\]:])";
const VALUE_END = "(= [ \\n\\t]* [,}\\]])";
const DIGITS = "[0-9]";

/**
 * JSON's own rules (RFC 8259), added to a grammar's as they are asked for. White space is at most one space, or a line break
 * and its indentation: models that may write any amount of it do, without end.
 */
export class JsonRules {
  readonly #rules: Rules;

  constructor(rules: Rules) {
    this.#rules = rules;
  }

  get space(): string {
    return this.#rule("space", () => '"" | " " | "\\n" [ \\t]{0,20}');
  }

  get string(): string {
    return this.#rule("string", () => `"\\"" ${this.#stringTail}`);
  }

  get integer(): string {
    return this.#rule("integer", () => `("-"? ("0" | [1-9] ${DIGITS}*)) ${VALUE_END}`);
  }

  get number(): string {
    return this.#rule("number", () => `("-"? ${unsignedNumber}) ${VALUE_END}`);
  }

  /** A number of at least 0. */
  get unsigned(): string {
    return this.#rule("unsigned", () => `(${unsignedNumber}) ${VALUE_END}`);
  }

  get boolean(): string {
    return this.#rule("boolean", () => '"true" | "false"');
  }

  /** Any value. */
  get value(): string {
    return this.#rule("value", () => {
      // Defined before it is known, since arrays and objects hold values.
      return [this.object, this.array, this.string, this.number, this.boolean, '"null"'].join(" | ");
    });
  }

  get object(): string {
    return this.#rule("object", () => this.mapOf(this.value));
  }

  get array(): string {
    return this.#rule("array", () => this.listOf(this.value, 0, undefined));
  }

  /** An expression for an object of any keys. */
  mapOf(value: string): string {
    const { space, string } = this;
    const pair = `${string} ${space} ":" ${space} ${value} ${space}`;
    return `"{" ${space} (${pair} ("," ${space} ${pair})*)? "}"`;
  }

  /** An expression for an array of so many items; `most` undefined: of any number. */
  listOf(item: string, least: number, most: number | undefined): string {
    const { space } = this;
    if (most === 0) return `"[" ${space} "]"`;
    const more = `("," ${space} ${item} ${space})`;
    const items = `${item} ${space} ${more}{${Math.max(0, least - 1)},${most === undefined ? "" : most - 1}}`;
    return `"[" ${space} ${least === 0 ? `(${items})?` : items} "]"`;
  }

  /** What follows a key in an object: a name or an expression of the pair, with space after it. */
  pair(key: string, value: string): string {
    return `${literal(JSON.stringify(key))} ${this.space} ":" ${this.space} ${value} ${this.space}`;
  }

  /** A string of so many characters, none of them escaped; `most` undefined: of any number. */
  boundedString(least: number, most: number | undefined): string {
    const expression = `(${PLAIN_CHARACTER}{${least},${most ?? ""}} "\\"") ${STRING_END}`;
    return `"\\"" ${this.#rules.of("text", expression)}`;
  }

  get #stringTail(): string {
    return this.#rule("string_tail", () => {
      return `("\\"" | ${PLAIN_CHARACTER} string_tail | "\\\\" ${this.#escape} string_tail) ${STRING_END}`;
    });
  }

  get #escape(): string {
    return this.#rule("escape", () => '["\\\\/bfnrt] | "u" [0-9a-fA-F]{4}');
  }

  #rule(name: string, expression: () => string): string {
    return this.#rules.once(name, expression);
  }
}

const unsignedNumber = `("0" | [1-9] ${DIGITS}*) ("." ${DIGITS}+)? ([eE] [+-]? ${DIGITS}+)?`;
