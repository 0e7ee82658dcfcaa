import fc from "fast-check";

/** A schema in an OpenAPI 3.1 document, as far as ours go. */
export interface Schema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly allOf?: readonly Schema[];
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: Schema | boolean;
  readonly minimum?: number;
  readonly maximum?: number;
}

/** Values that a schema allows, made small enough to be answered quickly. */
export function valuesOf(schema: Schema, resolve: (reference: string) => Schema, depth = 0): fc.Arbitrary<unknown> {
  const inner = (part: Schema) => valuesOf(part, resolve, depth + 1);
  if (schema.$ref !== undefined) return depth > 6 ? fc.constant({}) : inner(resolve(schema.$ref));
  if (schema.const !== undefined) return fc.constant(schema.const);
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices !== undefined) return fc.oneof(...choices.map(inner));
  if (schema.allOf !== undefined) {
    return fc.tuple(...schema.allOf.map(inner)).map((parts) => Object.assign({}, ...parts));
  }
  const types = schema.type === undefined ? ["object"] : [schema.type].flat();
  return fc.oneof(...types.map((type) => valueOfType(type, schema, inner)));
}

function valueOfType(type: string, schema: Schema, inner: (part: Schema) => fc.Arbitrary<unknown>) {
  const { minimum = -3, maximum = 60 } = schema;
  switch (type) {
    case "null":
      return fc.constant(null);
    case "boolean":
      return fc.boolean();
    case "integer":
      return fc.integer({ min: Math.ceil(minimum), max: Math.min(Math.floor(maximum), Math.ceil(minimum) + 60) });
    case "number":
      return fc.double({ min: minimum, max: maximum, noNaN: true });
    case "string":
      return fc.string({ unit: "grapheme", maxLength: 40 });
    case "array":
      return fc.array(inner(schema.items ?? {}), { maxLength: 4 });
    default:
      return objectOf(schema, inner);
  }
}

function objectOf(
  { properties = {}, required = [], additionalProperties }: Schema,
  inner: (part: Schema) => fc.Arbitrary<unknown>,
) {
  const optional = Object.keys(properties).filter((key) => !required.includes(key));
  const fields = fc.record(Object.fromEntries(Object.entries(properties).map(([key, part]) => [key, inner(part)])));
  const kept = fc.subarray(optional, { maxLength: Math.min(4, optional.length) });
  const more =
    typeof additionalProperties === "object"
      ? fc.dictionary(fc.nat(50).map(String), inner(additionalProperties), { maxKeys: 3 })
      : fc.constant({});
  return fc.tuple(fields, kept, more).map(([all, keys, rest]) => {
    const chosen = [...required, ...keys].map((key) => [key, all[key]]);
    return { ...rest, ...Object.fromEntries(chosen) };
  });
}

/** JSON texts of what hardly a client sends on purpose. Not all of them are JSON. */
const hostile = fc.oneof(
  fc.constantFrom(
    ...[
      "null",
      "true",
      "-1",
      "0",
      "0.5",
      "1e308",
      "1e999",
      "-1e999",
      "9007199254740993",
      "123456789012345678901234567890",
    ],
    ...[
      '""',
      '"NaN"',
      '"Infinity"',
      "NaN",
      "Infinity",
      "undefined",
      "[]",
      "{}",
      "[[]]",
      "[null]",
      '[""]',
      "[{}]",
      "[[[]]]",
    ],
    ...['"\\ud83d"', '"\\udc00\\ud83d"', '"\\u0000"', '"<|im_start|>"', '{"__proto__":{"a":1}}', '{"constructor":1}'],
    ...[
      '{"toString":null}',
      '{"length":1000000000}',
      '[1,"a",[2]]',
      "[-1]",
      "[0.5]",
      "[99999999]",
      '{"type":"text"}',
      "{% raw %}",
    ],
  ),
  fc.json({ maxDepth: 4 }),
  fc.string({ unit: "binary", maxLength: 30 }).map((text) => JSON.stringify(text)),
  fc.integer({ min: 100, max: 20_000 }).map((depth) => "[".repeat(depth) + "]".repeat(depth)),
  fc.integer({ min: 100, max: 20_000 }).map((depth) => `${'{"a":'.repeat(depth)}1${"}".repeat(depth)}`),
  fc.integer({ min: 1000, max: 50_000 }).map((length) => JSON.stringify("ab ".repeat(length))),
  fc.integer({ min: 1000, max: 50_000 }).map((length) => `[${"7,".repeat(length)}7]`),
);

const PLACE = "\ue000place\ue000";

/** A body as text, one of its values, or a new field, replaced by something hostile. */
export function spoiltText(body: fc.Arbitrary<unknown>): fc.Arbitrary<string> {
  const names = fc.constantFrom(
    "__proto__",
    "constructor",
    "model",
    "messages",
    "prompt",
    "n",
    "stream",
    "stop",
    "unknown",
  );
  return fc.tuple(body, hostile, fc.nat(), fc.boolean(), names).map(([value, text, place, add, name]) => {
    if (add) {
      // As text, so that a key may come twice.
      const rest = JSON.stringify(value).slice(1);
      return `{${JSON.stringify(name)}:${text}${rest === "}" ? "" : ","}${rest}`;
    }
    const copy = JSON.parse(JSON.stringify({ value })) as object;
    const places = placesIn(copy);
    const [holder, key] = places[place % places.length]!;
    holder[key] = PLACE;
    return JSON.stringify((copy as { value: unknown }).value).replace(JSON.stringify(PLACE), () => text);
  });
}

/** Every value in a piece of data, by the object that holds it and its key. */
function placesIn(value: object): [Record<string, unknown>, string][] {
  return Object.entries(value).flatMap(([key, part]) => [
    [value as Record<string, unknown>, key] as [Record<string, unknown>, string],
    ...(typeof part === "object" && part !== null ? placesIn(part) : []),
  ]);
}

/** The bytes of a text, cut short or with some of them changed. */
export function damagedBytes(text: fc.Arbitrary<string>): fc.Arbitrary<Uint8Array> {
  const change = fc.record({ at: fc.nat(), byte: fc.integer({ min: 0, max: 255 }) });
  const damage = fc.oneof(
    fc.record({ cut: fc.nat() }),
    fc.record({ changes: fc.array(change, { minLength: 1, maxLength: 4 }) }),
  );
  return fc.tuple(text, damage).map(([given, how]) => {
    const bytes = new TextEncoder().encode(given);
    if ("cut" in how) return bytes.slice(0, how.cut % (bytes.length + 1));
    for (const { at, byte } of how.changes) if (bytes.length > 0) bytes[at % bytes.length] = byte;
    return bytes;
  });
}
