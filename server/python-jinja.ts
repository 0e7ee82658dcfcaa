import { Environment, Interpreter } from "@huggingface/jinja";

/** What is used of the library's nodes and values: its own types are not exported. */
interface Node {
  readonly type: string;
  readonly [field: string]: unknown;
}
export interface Value {
  readonly type: string;
  readonly value: unknown;
  toString(): string;
}
interface LibraryInterpreter {
  run(program: object): Value;
  evaluate(node: Node | undefined, environment: Environment): Value;
  evaluateBlock(nodes: readonly Node[], environment: Environment): Value;
}
const Library = Interpreter as unknown as new (environment: Environment) => LibraryInterpreter;

/**
 * The library's interpreter where it departs from Jinja in Python and templates of known models notice: equality, white
 * space, missing attributes, loops over text, and how values that are no text are written.
 */
export class PythonInterpreter extends Library {
  /** A part that a node may lack, as the ends of a slice, is undefined. */
  override evaluate(node: Node | undefined, environment: Environment): Value {
    switch (node?.type) {
      case "BinaryExpression":
        return this.#binary(node, environment) ?? super.evaluate(node, environment);
      case "CallExpression":
        return (
          this.#stripCall(node, environment) ?? this.#dictCall(node, environment) ?? super.evaluate(node, environment)
        );
      case "FilterExpression":
        return this.#filter(node, environment) ?? super.evaluate(node, environment);
      case "MemberExpression":
        return this.#member(node, environment) ?? super.evaluate(node, environment);
      case "For":
        return this.#loop(node, environment) ?? super.evaluate(node, environment);
      default:
        return super.evaluate(node, environment);
    }
  }

  override evaluateBlock(nodes: readonly Node[], environment: Environment): Value {
    let text = "";
    for (const node of nodes) {
      const value = this.evaluate(node, environment);
      // Statements have no value, either.
      if (value.type !== "NullValue") text += textOf(value);
    }
    return asValue(text);
  }

  /** `==` without JavaScript's conversions (`"" != false`), and `~` of anything. */
  #binary(node: Node, environment: Environment): Value | undefined {
    const operator = (node.operator as { value: string }).value;
    if (!["==", "!=", "~"].includes(operator)) return undefined;
    const left = this.evaluate(node.left as Node, environment);
    const right = this.evaluate(node.right as Node, environment);
    if (operator === "~") return asValue(textOf(left) + textOf(right));
    return asValue(areEqual(left, right) === (operator === "=="));
  }

  /** `text.strip(characters)` and its siblings. */
  #stripCall(node: Node, environment: Environment): Value | undefined {
    const callee = node.callee as Node;
    const name = (callee.property as { value?: unknown } | undefined)?.value;
    if (callee.type !== "MemberExpression" || callee.computed || !isStrip(name)) return undefined;
    const text = this.evaluate(callee.object as Node, environment);
    if (text.type !== "StringValue") return undefined;
    const [characters] = (node.args as Node[]).map((argument) => this.evaluate(argument, environment));
    return asValue(
      strip(String(text.value), name, characters?.type === "StringValue" ? String(characters.value) : null),
    );
  }

  /** `dict(name=value)`. */
  #dictCall(node: Node, environment: Environment): Value | undefined {
    const callee = node.callee as Node;
    const args = node.args as Node[];
    if (callee.type !== "Identifier" || callee.value !== "dict") return undefined;
    if (!args.every(({ type }) => type === "KeywordArgumentExpression")) return undefined;
    const entries = args.map(({ key, value }) => {
      return [{ type: "StringLiteral", value: (key as Node).value }, value] as const;
    });
    return super.evaluate({ type: "ObjectLiteral", value: new Map(entries) }, environment);
  }

  #filter(node: Node, environment: Environment): Value | undefined {
    const filter = node.filter as Node;
    const called = filter.type === "CallExpression";
    const name = ((called ? filter.callee : filter) as { value: string }).value;
    if (!["trim", "string", "length", "count", "selectattr", "rejectattr"].includes(name)) return undefined;
    const operand = this.evaluate(node.operand as Node, environment);
    const given = called ? (filter.args as Node[]).map((argument) => this.evaluate(argument, environment)) : [];
    if (name === "length" || name === "count") {
      return operand.type === "StringValue" ? asValue(characterCount(String(operand.value))) : undefined;
    }
    if (name === "string") return asValue(textOf(operand));
    if (name === "trim") {
      const characters = given[0]?.type === "StringValue" ? String(given[0].value) : null;
      return asValue(strip(textOf(operand), "strip", characters));
    }
    if (operand.type === "NullValue" || operand.type === "UndefinedValue") return asValue([]);
    const [attribute, test] = given.map(({ value }) => value);
    // A text is a list of characters, which have no attributes.
    const asked = test === "undefined" || test === "defined";
    if (operand.type === "StringValue")
      return asValue(Array.from((test === "undefined") === (name === "selectattr") ? String(operand.value) : ""));
    if (!asked || operand.type !== "ArrayValue") return undefined;
    const kept = (operand.value as Value[]).filter((item) => {
      const found =
        item.value instanceof Map &&
        (item.value.get(attribute) ?? { type: "UndefinedValue" }).type !== "UndefinedValue";
      return (found === (test === "defined")) === (name === "selectattr");
    });
    return listOf(kept);
  }

  /** What has no such member is undefined, whatever was asked for. */
  #member(node: Node, environment: Environment): Value | undefined {
    const property = node.property as Node;
    if (!node.computed || ["SliceExpression", "StringLiteral", "IntegerLiteral"].includes(property.type))
      return undefined;
    const { type } = this.evaluate(property, environment);
    return type === "UndefinedValue" || type === "NullValue" ? asValue(undefined) : undefined;
  }

  /** Texts can be looped over, and tuples taken apart as lists are. */
  #loop(node: Node, environment: Environment): Value | undefined {
    const iterable = node.iterable as Node;
    const selects = iterable.type === "SelectExpression";
    const list = this.evaluate((selects ? iterable.lhs : iterable) as Node, environment);
    const scope = new Environment(environment);
    const name = "\u0000list";
    scope.setVariable(name, iterableOf(list) as never);
    const known = { type: "Identifier", value: name };
    return super.evaluate({ ...node, iterable: selects ? { ...iterable, lhs: known } : known }, scope);
  }
}

function iterableOf(list: Value): Value {
  if (list.type === "StringValue") return asValue(Array.from(String(list.value)));
  if (list.type !== "ArrayValue") return list;
  const items = list.value as Value[];
  if (!items.some(({ type }) => type === "TupleValue")) return list;
  return listOf(items.map((item) => (item.type === "TupleValue" ? listOf(item.value as Value[]) : item)));
}

/** Only its way to make values is used; a new one for each would build its tables again. */
const converter = new Environment();

/** A value of JavaScript as one of the interpreter's. */
function asValue(value: unknown): Value {
  const made = converter.set("value", value) as unknown as Value;
  converter.variables.delete("value");
  return made;
}

/** A list of values that the interpreter has already. */
function listOf(values: readonly Value[]): Value {
  const list = asValue([]);
  (list.value as Value[]).push(...values);
  return list;
}

const isStrip = (name: unknown): name is "strip" | "lstrip" | "rstrip" => {
  return name === "strip" || name === "lstrip" || name === "rstrip";
};

/** What Python's str.isspace() says yes to; JavaScript's trim() takes U+FEFF too, and not U+001C to U+001F and U+0085. */
const whiteSpace =
  "\t\n\v\f\r\u001c\u001d\u001e\u001f \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a" +
  "\u2028\u2029\u202f\u205f\u3000";

/** Python's strip, lstrip and rstrip; null stands for white space. */
export function strip(text: string, side: "strip" | "lstrip" | "rstrip", characters: string | null): string {
  const gone = new Set(characters ?? whiteSpace);
  // Units of UTF-16 will do unless characters outside the BMP may have to go; texts are long.
  const units = /\p{Surrogate}|[^\0-\uffff]/u.test(characters ?? "") ? Array.from(text) : text;
  let start = 0;
  let end = units.length;
  if (side !== "rstrip") while (start < end && gone.has(units[start]!)) start++;
  if (side !== "lstrip") while (end > start && gone.has(units[end - 1]!)) end--;
  return typeof units === "string" ? units.slice(start, end) : units.slice(start, end).join("");
}

/** Characters outside the BMP count once. */
function characterCount(text: string): number {
  return text.length - (text.match(/[\ud800-\udbff][\udc00-\udfff]/g)?.length ?? 0);
}

const isNumber = ({ type }: Value) => ["IntegerValue", "FloatValue", "BooleanValue"].includes(type);

/** Python's `==`: numbers and booleans with each other, all else with its like. */
function areEqual(a: Value, b: Value): boolean {
  if (isNumber(a) && isNumber(b)) return Number(a.value) === Number(b.value);
  if (Array.isArray(a.value) && Array.isArray(b.value) && a.type === b.type) {
    const other = b.value as Value[];
    return a.value.length === other.length && (a.value as Value[]).every((item, i) => areEqual(item, other[i]!));
  }
  if (a.value instanceof Map && b.value instanceof Map) {
    const other = b.value as Map<string, Value>;
    const entries = [...(a.value as Map<string, Value>)];
    return (
      entries.length === other.size && entries.every(([key, item]) => other.has(key) && areEqual(item, other.get(key)!))
    );
  }
  return a.type === b.type && a.value === b.value;
}

/** Python's str(). */
function textOf(value: Value): string {
  if (value.type === "UndefinedValue") return "";
  return value.type === "StringValue" ? String(value.value) : representation(value);
}

/** Python's repr(). */
function representation(value: Value): string {
  if (value.type === "StringValue") return quoted(String(value.value));
  if (value.type === "NullValue") return "None";
  if (value.type === "BooleanValue") return value.value ? "True" : "False";
  if (Array.isArray(value.value)) return `[${(value.value as Value[]).map(representation).join(", ")}]`;
  if (value.value instanceof Map) {
    const entries = [...(value.value as Map<string, Value>)].map(
      ([key, item]) => `${quoted(key)}: ${representation(item)}`,
    );
    return `{${entries.join(", ")}}`;
  }
  return value.toString();
}

const escapes: Readonly<Record<string, string>> = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/** A text in Python's quotes; what cannot be printed is escaped. */
function quoted(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const inside = text.replace(/[\\\p{C}\p{Z}'"]/gu, (character) => {
    if (character === " ") return character;
    if (character === "'" || character === '"') return character === quote ? `\\${character}` : character;
    return escapes[character] ?? numbered(character.codePointAt(0)!);
  });
  return `${quote}${inside}${quote}`;
}

function numbered(codePoint: number): string {
  const digits = codePoint.toString(16);
  if (codePoint < 0x100) return `\\x${digits.padStart(2, "0")}`;
  return codePoint < 0x10000 ? `\\u${digits.padStart(4, "0")}` : `\\U${digits.padStart(8, "0")}`;
}
