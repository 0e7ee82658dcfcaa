/**
 * Grammars as xgrammar reads them: rules `name ::= expression`, the first of them `root`. Two things about it shape every
 * expression here: a token that runs past the end of a rule is checked anew at each step, unless a lookahead `(= ...)` says
 * what may follow; and a repetition with bounds costs a state, and so a look at the whole vocabulary, for each of its counts.
 */
export interface Rule {
  readonly name: string;
  readonly expression: string;
}

/** A text literally. Whatever is not plainly a letter, a digit or a space is escaped. */
export function literal(text: string): string {
  return `"${Array.from(text, (character) => (/[A-Za-z0-9 _]/.test(character) ? character : escaped(character))).join("")}"`;
}

/** One character of a range of code points. */
export function range(from: string, to: string): string {
  return `${escaped(from)}-${escaped(to)}`;
}

export function escaped(character: string): string {
  const code = character.codePointAt(0) as number;
  const hex = (digits: number) => code.toString(16).padStart(digits, "0");
  return code > 0xffff ? `\\U${hex(8)}` : `\\u${hex(4)}`;
}

/** One of them. */
export function oneOf(expressions: readonly string[]): string {
  const different = [...new Set(expressions)];
  return different.length === 1 ? (different[0] as string) : `(${different.join(" | ")})`;
}

/** All of them, one after the other. */
export function sequence(...expressions: readonly string[]): string {
  return expressions.filter((expression) => expression !== "").join(" ");
}

/** Gives names to expressions, the same name to the same one. */
export class Rules {
  readonly #names = new Map<string, string>();
  readonly #rules: Rule[] = [];

  /** The name of a rule with this expression. Mutates. */
  of(prefix: string, expression: string): string {
    const known = this.#names.get(expression);
    if (known !== undefined) return known;
    const name = `${prefix}${this.#rules.length}`;
    this.define(name, expression);
    this.#names.set(expression, name);
    return name;
  }

  /** A rule under a name that the caller has made up, for expressions that name themselves. Mutates. */
  define(name: string, expression: string): void {
    this.#rules.push({ name, expression });
  }

  /** A rule by its name; `make` is called the first time, and may ask for the same name again. Mutates. */
  once(name: string, make: () => string): string {
    if (this.#known.has(name)) return name;
    this.#known.add(name);
    this.define(name, make());
    return name;
  }

  readonly #known = new Set<string>();

  /** An expression that is made once for a key; what it is made of may be rules of their own. Mutates. */
  cached(key: string, make: () => string): string {
    const expression = this.#cached.get(key) ?? make();
    this.#cached.set(key, expression);
    return expression;
  }

  readonly #cached = new Map<string, string>();

  /** A name that no rule has, as long as the prefix is the caller's own. Mutates. */
  reserve(prefix: string): string {
    this.#reserved += 1;
    return `${prefix}_${this.#reserved}`;
  }

  #reserved = 0;

  get count(): number {
    return this.#rules.length;
  }

  /** The grammar whose start is `root`. */
  toString(root: string): string {
    return [{ name: "root", expression: root }, ...this.#rules].map(lineOf).join("\n");
  }
}

function lineOf({ name, expression }: Rule): string {
  return `${name} ::= ${expression}`;
}
