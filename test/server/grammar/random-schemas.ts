import fc from "fast-check";

/** A schema, and a value that satisfies it, with members in the order of `properties`. */
export interface Case {
  readonly schema: object;
  readonly value: unknown;
}

const patterns: readonly (readonly [string, readonly string[]])[] = [
  ["^[a-z]{2,5}(?:-\\d+)?$", ["ab", "words-12", "xyzzy"]],
  ["\\d", ["7", "a 1\n", 'say "3"', "日9"]],
  ["^(?!no)\\S+$", ["yes", "n", "\\o/"]],
  ["^a|b$", ["a", "a\tb", "\u0001b", "😀b"]],
  ['^(?:[^\\\\"]|\\\\.)*$', ["", "plain", '\\"quoted\\"']],
  ["^[а-яё-]{2,9}é?$", ["ёж", "что-то", "да-é"]],
  ["^.[日本]$", ["a日", "😀本"]],
  ["[^\\x00-\\x7f]", ["ü", "a é", "😀"]],
];
const formats: Readonly<Record<string, readonly string[]>> = {
  date: ["2024-02-29", "1999-12-31"],
  time: ["23:59:59Z", "00:00:00.125+02:00"],
  "date-time": ["2024-02-29T12:00:00Z", "2000-01-31T01:02:03.5-11:30"],
  uuid: ["0f8fad5b-d9cb-469f-a165-70867728950e"],
  ipv4: ["255.0.9.10"],
  email: ["a.b+c@example.com"],
  uri: ["https://example.com/a/b?x=1#y"],
};

const text = fc.string({ unit: fc.constantFrom(...'ab Z9-"\\/\n\u0001é日😀'), maxLength: 90 });
const hundredths = (least: number, most: number) => fc.integer({ min: least, max: most }).map((value) => value / 100);

const integers = fc
  .tuple(fc.integer({ min: -2000, max: 2000 }), fc.nat(30), fc.nat(30), fc.boolean(), fc.boolean())
  .map(([value, below, above, open, bounded]): Case => {
    const lower = open ? { exclusiveMinimum: value - below - 1 } : { minimum: value - below };
    return { schema: { type: "integer", ...lower, ...(bounded ? { maximum: value + above } : {}) }, value };
  });

const numbers = fc
  .tuple(hundredths(-30_000, 30_000), hundredths(0, 500), hundredths(1, 500), fc.boolean())
  .map(([value, below, above, both]): Case => {
    const minimum = Number((value - below).toFixed(2));
    const upper = both ? { exclusiveMaximum: Number((value + above).toFixed(2)) } : {};
    return { schema: { type: "number", minimum, ...upper }, value };
  });

const strings = fc.tuple(text, fc.nat(5), fc.nat(40), fc.boolean()).map(([value, below, above, both]): Case => {
  const length = Array.from(value).length;
  const upper = both ? { maxLength: length + above } : {};
  return { schema: { type: "string", minLength: Math.max(0, length - below), ...upper }, value };
});

const languages = fc.oneof(
  fc
    .constantFrom(...patterns)
    .chain(([pattern, values]) =>
      fc.constantFrom(...values).map((value): Case => ({ schema: { type: "string", pattern }, value })),
    ),
  fc
    .constantFrom(...Object.keys(formats))
    .chain((format) => fc.constantFrom(...formats[format]!).map((value): Case => ({ schema: { format }, value }))),
);

const plain = fc.constantFrom<Case>(
  { schema: { type: "boolean" }, value: false },
  { schema: { type: ["null", "integer"] }, value: null },
  { schema: { enum: ["a", 'b"', 3, null] }, value: 'b"' },
  { schema: { enum: [1, 5, 9, "x"], minimum: 4 }, value: 5 },
  { schema: { const: { a: [1] } }, value: { a: [1] } },
);

/** Objects with members that are there or not. */
function objects(inner: fc.Arbitrary<Case>): fc.Arbitrary<Case> {
  const member = fc.tuple(inner, fc.constantFrom("required", "there", "absent"));
  return fc.array(member, { maxLength: 4 }).map((members): Case => {
    const named = members.map(([one, presence], i) => ({ ...one, presence, key: `k${i}` }));
    return {
      schema: {
        type: "object",
        properties: Object.fromEntries(named.map(({ key, schema }) => [key, schema])),
        required: named.filter(({ presence }) => presence === "required").map(({ key }) => key),
        additionalProperties: false,
      },
      value: Object.fromEntries(
        named.filter(({ presence }) => presence !== "absent").map(({ key, value }) => [key, value]),
      ),
    };
  });
}

function combined(inner: fc.Arbitrary<Case>): fc.Arbitrary<Case> {
  return fc.oneof(
    objects(inner),
    fc.tuple(inner, fc.nat(2), fc.nat(2)).map(([{ schema, value }, count, more]): Case => {
      return {
        schema: { type: "array", items: schema, minItems: count, maxItems: count + more },
        value: Array(count).fill(value),
      };
    }),
    fc.tuple(inner, inner).map(([a, b]): Case => ({ schema: { anyOf: [a.schema, b.schema] }, value: b.value })),
    inner.map(({ schema, value }): Case => ({ schema: { allOf: [schema, {}, { description: "all" }] }, value })),
    // Two objects that say something of each other's members.
    fc.tuple(inner, inner).map(([a, b]): Case => {
      const half = (key: string, schema: object) => ({
        type: "object",
        properties: { [key]: schema },
        required: [key],
      });
      const both = { allOf: [half("x", a.schema), half("y", b.schema)], properties: { x: { title: "an x" } } };
      return { schema: both, value: { x: a.value, y: b.value } };
    }),
    fc.tuple(inner, inner).map(([a, b]): Case => {
      const kind = (name: string, schema: object) => ({
        type: "object",
        properties: { kind: { const: name }, of: schema },
        required: ["kind", "of"],
      });
      return { schema: { oneOf: [kind("a", a.schema), kind("b", b.schema)] }, value: { kind: "b", of: b.value } };
    }),
    inner.map(({ schema, value }): Case => {
      const map = { type: "object", propertyNames: { pattern: "^[a-z]+$" }, additionalProperties: schema };
      return { schema: map, value: { key: value, other: value } };
    }),
  );
}

const leaf = fc.oneof(integers, numbers, strings, languages, plain);
export const cases: fc.Arbitrary<Case> = fc.oneof(leaf, combined(leaf), combined(combined(leaf)));
