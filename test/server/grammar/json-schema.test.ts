import { describe, expect, test } from "vitest";
import { GrammarError } from "../../../server/grammar/errors.ts";
import { schemaGrammar } from "../../../server/grammar/json-schema.ts";

/** The path and the message of what a schema is refused for. */
function refusal(schema: unknown): [string, string] {
  try {
    schemaGrammar(schema);
  } catch (error) {
    if (error instanceof GrammarError) return [error.path, error.message];
    throw error;
  }
  throw new Error(`is not refused: ${JSON.stringify(schema)}`);
}

const inA = (schema: unknown) => ({ type: "object", properties: { a: schema } });
let deep: unknown = {};
for (let i = 0; i < 100; i++) deep = { items: deep };

describe("what is refused, and where", () => {
  test.each<[unknown, string, RegExp]>([
    [7, "", /must be a schema/],
    [false, "", /allows no value/],
    [inA({ type: "text" }), "properties.a.type", /one or several of object.*not "text"/],
    [inA({ type: [] }), "properties.a.type", /one or several/],
    [inA({ pattern: "(a)\\1" }), "properties.a.pattern", /\\1 is not supported/],
    [inA({ pattern: "a\\b" }), "properties.a.pattern", /\\b is not supported/],
    [inA({ pattern: "(?<!a)b" }), "properties.a.pattern", /\(\?<!a\) is not supported/],
    [inA({ pattern: "a(?=b)" }), "properties.a.pattern", /\(\?=b\) is not supported but at the ends/],
    [inA({ pattern: "a(^b|c)" }), "properties.a.pattern", /\^ is not supported but at the ends/],
    [inA({ pattern: "(" }), "properties.a.pattern", /Invalid regular expression: \/\(\/u: Unterminated group/],
    [inA({ pattern: "\\p{Nothing}" }), "properties.a.pattern", /Invalid property name/],
    [inA({ pattern: "^\\p{L}+$" }), "properties.a", /has \d+ characters beyond ASCII; all of them, or 64 at most/],
    [inA({ pattern: 5 }), "properties.a.pattern", /must be a string, not 5/],
    [inA({ pattern: "a".repeat(2001) }), "properties.a.pattern", /has 2001 characters; 2000 is the most/],
    [inA({ pattern: "^a{1,100000}$" }), "properties.a.pattern", /automaton of more than 2000 states/],
    [inA({ pattern: "^(a|b)*a(a|b){14}$" }), "properties.a.pattern", /automaton of more than 2000 states/],
    [inA({ pattern: "^[a-z]{3,700}$" }), "properties.a", /needs 701 states; 512 is the most/],
    [
      { type: "array", prefixItems: Array.from({ length: 20 }, (_, i) => ({ pattern: `^a{${300 + i}}$` })) },
      "prefixItems[13]",
      /more than 4096 rules/,
    ],
    [inA({ pattern: "^a$", minLength: 2 }), "properties.a", /no string is of its patterns, format and length/],
    [inA({ pattern: "^a$", format: 7 }), "properties.a.format", /7 is not supported/],
    [inA({ not: { type: "string" } }), "properties.a.not", /not supported/],
    [{ allOf: {} }, "allOf", /must be an array/],
    [{ allOf: [{}, 7] }, "allOf[1]", /must be a schema/],
    [inA({ allOf: [{ type: "string" }, { not: {} }] }), "properties.a.allOf[1].not", /not supported/],
    [inA({ allOf: [{ type: "string" }, { type: ["number", "null"] }] }), "properties.a.type", /no type is in all of/],
    [inA({ allOf: [{ minimum: 5 }, { maximum: 3, type: "integer" }] }), "properties.a", /least is 5, the largest 3/],
    [inA({ allOf: [{ enum: [1, 2] }, { minimum: 3 }] }), "properties.a.allOf[0].enum", /allows no value/],
    [
      {
        allOf: [
          { type: "object", required: ["b"] },
          { properties: { a: {} }, additionalProperties: false },
        ],
      },
      "allOf[0].required",
      /asks for "b", which no property allows/,
    ],
    [{ type: "object", propertyNames: { maxLength: 1 }, required: ["ab"] }, "required", /asks for "ab"/],
    [{ type: "object", patternProperties: { x: {} } }, "patternProperties", /not supported/],
    [inA({ type: "string", format: "idn-email" }), "properties.a.format", /"idn-email" is not supported.*are date/],
    [inA({ type: "string", format: "constructor" }), "properties.a.format", /not supported/],
    [inA({ type: "string", maxLength: 5000 }), "properties.a.maxLength", /is 5000; 4096 is the most/],
    [inA({ type: "string", minLength: 3, maxLength: 2 }), "properties.a.maxLength", /is 2, but minLength is 3/],
    [inA({ type: "string", minLength: -1 }), "properties.a.minLength", /whole number of at least 0, not -1/],
    [
      inA({ type: "number", minimum: 2, exclusiveMaximum: 2 }),
      "properties.a",
      /no number between 2 and 2 \(exclusive\)/,
    ],
    [inA({ type: "number", exclusiveMinimum: 1e15 }), "properties.a", /exclusive bound of 1000000000000000 is not/],
    [inA({ type: "number", multipleOf: 0.5 }), "properties.a.multipleOf", /not supported/],
    [inA({ type: "integer", minimum: 5, maximum: 3 }), "properties.a", /the least is 5, the largest 3/],
    [inA({ type: "integer", minimum: "5" }), "properties.a.minimum", /must be a number/],
    [inA({ type: "integer", multipleOf: 2 }), "properties.a.multipleOf", /not supported/],
    [{ type: "array", minItems: 3, maxItems: 1 }, "maxItems", /is 1, but minItems is 3/],
    [{ type: "array", maxItems: 5000 }, "maxItems", /1024 is the most/],
    [{ type: "array", items: { type: "?" } }, "items.type", /one or several/],
    [{ type: "array", prefixItems: [{ type: "?" }] }, "prefixItems[0].type", /one or several/],
    [{ enum: [] }, "enum", /allows no value/],
    [{ type: "string", enum: [1] }, "enum", /allows no value/],
    [{ anyOf: [] }, "anyOf", /must not be empty/],
    [{ anyOf: [{ type: "null" }, { type: "?" }] }, "anyOf[1].type", /one or several/],
    [{ type: "object", anyOf: [{ type: "string" }, { type: "null" }] }, "anyOf[0].type", /no type is in all of/],
    [{ oneOf: [{ type: "number" }, { type: "integer" }] }, "oneOf", /items 0 and 1 may allow the same value/],
    [{ $ref: "#/$defs/none" }, "$ref", /there is no #\/\$defs\/none/],
    [{ $ref: "https://example.org/schema" }, "$ref", /must be a place in the schema/],
    [{ $ref: "#" }, "#.$ref", /leads back to itself/],
    [
      { $ref: "#/$defs/a", $defs: { a: { anyOf: [{ type: "null" }, { $ref: "#/$defs/a" }] } } },
      "#/$defs/a.anyOf[1].$ref",
      /leads back to itself/,
    ],
    [{ type: "object", required: ["x"], additionalProperties: false }, "required", /asks for "x"/],
    [{ type: "object", required: [1] }, "required[0]", /must be a string/],
    [{ type: "object", properties: [] }, "properties", /must be an object/],
    [
      inA({ type: "object", properties: { "b c": { type: 1 } } }),
      'properties.a.properties."b c".type',
      /one or several/,
    ],
    [deep, new Array(65).fill("items").join("."), /more than 64 schemas/],
  ])("%j", (schema, path, message) => {
    const [at, text] = refusal(schema);
    expect(at).toBe(path);
    expect(text).toMatch(message);
  });
});
