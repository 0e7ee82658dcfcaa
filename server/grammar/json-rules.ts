import { literal, type Rules } from "./ebnf.ts";

/** A character inside a string that needs no escape. */
export const PLAIN_CHARACTER = "[^\\u0022\\u005c\\u0000-\\u001f]";

/** What may follow a string. */
export const STRING_END = "(= [ \\n\\t]* [,}\\]:])";
/** What may follow a number. */
export const VALUE_END = "(= [ \\n\\t]* [,}\\]])";
/** Characters that are counted one by one. */
const SPAN = 64;
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
    return this.#rule("object", () => this.mapOf(this.string, this.value));
  }

  get array(): string {
    return this.#rule("array", () => this.listOf(this.value, 0, undefined));
  }

  /** An expression for an object of any number of members. */
  mapOf(key: string, value: string): string {
    const { space } = this;
    const pair = `${key} ${space} ":" ${space} ${value} ${space}`;
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

  /**
   * A string of so many code points; `most` undefined: of any number. All such strings of a grammar share the rules for up to
   * SPAN characters, which are what costs; longer ones are made of spans, and a token that may run past the end of one is
   * checked anew each time, so spans are not short.
   */
  boundedString(least: number, most: number | undefined): string {
    const tail = most === undefined ? this.#stringTail : this.#upTo(most - least);
    return ['"\\""', this.#exactly(least), tail].filter((part) => part !== "").join(" ");
  }

  /** So many characters. */
  #exactly(count: number): string {
    if (count === 0) return "";
    return this.#rule(`exactly_${count}`, () => {
      if (count > SPAN) return `${this.#exactly(SPAN)} ${this.#exactly(count - SPAN)}`;
      const more = this.#exactly(count - 1);
      return `${PLAIN_CHARACTER} ${more} | "\\\\" ${this.shortEscape} ${more}`;
    });
  }

  /** At most so many characters, and the quote. */
  #upTo(count: number): string {
    return this.#rule(`up_to_${count}`, () => {
      if (count === 0) return `("\\"") ${STRING_END}`;
      if (count > SPAN) {
        return `(${this.#exactly(SPAN)} ${this.#upTo(count - SPAN)} | ${this.#upTo(SPAN - 1)}) ${STRING_END}`;
      }
      const more = this.#upTo(count - 1);
      return `("\\"" | ${PLAIN_CHARACTER} ${more} | "\\\\" ${this.shortEscape} ${more}) ${STRING_END}`;
    });
  }

  /** After a backslash: what JSON.stringify writes for one character. */
  get shortEscape(): string {
    return this.#rule("short_escape", () => '["\\\\/bfnrt] | "u00" [01] [0-9a-f]');
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

/** Exponents end at 99: what is larger than a double can be is read as infinite, or not at all. */
const unsignedNumber = `("0" | [1-9] ${DIGITS}*) ("." ${DIGITS}+)? ([eE] [+-]? ${DIGITS} ${DIGITS}?)?`;
