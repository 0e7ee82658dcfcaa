import { Ajv2020 } from "ajv/dist/2020.js";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { anyObjectGrammar, schemaGrammar } from "../../../server/grammar/json-schema.ts";
import { GrammarService } from "../../../server/grammar/service.ts";
import { grammarVocabulary } from "../../../server/grammar/vocabulary.ts";
import { accepts, allowed, END, grammars, maskOf, sample, tokenizer } from "../../support/grammars.ts";

afterAll(() => grammars.close());

const node = {
  $ref: "#/$defs/node",
  $defs: {
    node: {
      type: "object",
      properties: { value: { type: "integer" }, next: { anyOf: [{ $ref: "#/$defs/node" }, { type: "null" }] } },
      required: ["value", "next"],
      additionalProperties: false,
    },
  },
};

const person = {
  type: "object",
  properties: {
    name: { type: "string", maxLength: 12 },
    age: { type: "integer", minimum: 0, maximum: 150 },
    'a "key"\\': { enum: ["ü", 'say "no"', 3, null] },
    tags: { type: "array", items: { type: "string", minLength: 1, maxLength: 4 }, minItems: 1, maxItems: 3 },
    nested: { type: "object", properties: { x: { type: "number" } } },
  },
  required: ["name", "tags", 'a "key"\\'],
  additionalProperties: false,
};

const schemas: Record<string, object> = {
  person,
  node,
  any: {},
  map: { type: "object", additionalProperties: { type: ["boolean", "null"] } },
  optional: {
    type: "object",
    properties: { a: { const: 1 }, b: { const: 2 }, c: { const: 3 }, d: { const: 4 } },
    required: ["c"],
  },
  allOptional: { type: "object", properties: { a: { const: 1 }, b: { const: 2 }, c: { const: 3 } } },
  requiredOnly: { type: "object", required: ["z"] },
  integers: { type: "array", items: { type: "integer", exclusiveMinimum: -13, maximum: 1207 } },
  union: {
    oneOf: [
      { type: "object", properties: { kind: { const: "a" }, x: { type: "boolean" } }, required: ["kind", "x"] },
      { type: "object", properties: { kind: { const: "b" } }, required: ["kind"] },
    ],
  },
  tuple: { type: "array", prefixItems: [{ type: "integer" }, { type: "boolean" }], items: false },
  formats: {
    type: "array",
    prefixItems: ["date", "time", "date-time", "uuid", "ipv4"].map((format) => ({ type: "string", format })),
  },
  numbers: { type: "array", items: { type: "number", minimum: 0 } },
};

describe("what a grammar lets through satisfies its schema", () => {
  const ajv = new Ajv2020({ strict: false, validateFormats: false });

  test.each(Object.entries(schemas))("%s", async (_, schema) => {
    const validate = ajv.compile(schema);
    const grammar = schemaGrammar(schema);
    let whole = 0;
    for (let seed = 0; seed < 12; seed++) {
      const text = await sample(grammar, seed);
      if (text === null) continue;
      whole += 1;
      expect([text, validate(JSON.parse(text)), validate.errors]).toEqual([text, true, null]);
    }
    expect(whole).toBeGreaterThan(2);
  });

  test("and any object is one", async () => {
    const grammar = anyObjectGrammar();
    for (let seed = 0; seed < 10; seed++) {
      const text = await sample(grammar, seed);
      if (text !== null) expect(JSON.parse(text)).toBeTypeOf("object");
    }
    expect(await accepts(grammar, "[1]")).toBe(false);
  });
});

describe("what satisfies a schema is let through", () => {
  const values: [string, unknown][] = [
    ["person", { name: "Ann", age: 150, 'a "key"\\': 'say "no"', tags: ["a", "bcde"], nested: { x: -1.5e-7 } }],
    ["person", { name: "", 'a "key"\\': null, tags: ["ü"] }],
    ["node", { value: -3, next: { value: 0, next: null } }],
    ["any", { a: [1, 'two\n\u0001"', { "": null }], 日本: true }],
    ["map", { x: true, y: null }],
    ["optional", { a: 1, c: 3, d: 4 }],
    ["optional", { c: 3 }],
    ["allOptional", {}],
    ["allOptional", { b: 2 }],
    ["allOptional", { a: 1, b: 2, c: 3 }],
    ["requiredOnly", { z: [] }],
    ["integers", [-12, 0, 999, 1207]],
    ["union", { kind: "b" }],
    ["tuple", [3, false]],
    [
      "formats",
      ["2024-02-28", "23:59:59Z", "2024-02-28T00:00:00.5Z", "0f8fad5b-d9cb-469f-a165-70867728950e", "255.0.9.10"],
    ],
    ["numbers", [0, 1.25, 3e9]],
  ];
  test.each(values)("%s %j", async (name, value) => {
    const grammar = schemaGrammar(schemas[name]);
    expect(await accepts(grammar, JSON.stringify(value))).toBe(true);
    expect(await accepts(grammar, JSON.stringify(value, null, 2))).toBe(true);
  });

  test.each<[string, string]>([
    ["person", '{"name":"Ann","tags":["a"]}'],
    ["person", '{"name":"more than twelve","a \\"key\\"\\\\":3,"tags":["a"]}'],
    ["integers", "[-13]"],
    ["integers", "[1208]"],
    ["integers", "[01]"],
    ["union", '{"kind":"a"}'],
    ["optional", '{"c":3,"a":1}'],
    ["any", '"a\tb"'],
    ["map", '{"x":1}'],
    ["tuple", "[3]"],
    ["numbers", "[-1]"],
    ["numbers", "[1.]"],
  ])("and nothing else: %s %s", async (name, text) => {
    expect(await accepts(schemaGrammar(schemas[name]), text)).toBe(false);
  });

  test("integers of any range", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: -3000, max: 3000 }),
        fc.nat(2500),
        fc.integer({ min: -3500, max: 6000 }),
        async (minimum, width, value) => {
          const grammar = schemaGrammar({
            type: "array",
            items: { type: "integer", minimum, maximum: minimum + width },
          });
          const inside = value >= minimum && value <= minimum + width;
          expect(await accepts(grammar, `[${value}]`)).toBe(inside);
          for (const edge of [minimum, minimum + width]) expect(await accepts(grammar, `[${edge}]`)).toBe(true);
          for (const outside of [minimum - 1, minimum + width + 1]) {
            expect(await accepts(grammar, `[${outside}]`)).toBe(false);
          }
        },
      ),
      { seed: 4, numRuns: 25 },
    );
  });
});

describe("the service", () => {
  test("goes on in another thread when one ends, from where a generation was", async () => {
    const own = new GrammarService({ vocabulary: () => grammarVocabulary(tokenizer, tokenizer.vocabSize) });
    const grammar = schemaGrammar({ const: "abcdefgh" });
    const constraint = (await own.compile(grammar)).start();
    const [first, second, ...rest] = tokenizer.encode('"abcdefgh"', { addSpecialTokens: false });
    constraint.accept(first!);
    await maskOf(constraint);
    await (await own.compiled(grammar)).thread.close();
    for (const token of [second!, ...rest]) {
      constraint.accept(token);
      await maskOf(constraint);
    }
    expect(allowed(await maskOf(constraint), END)).toBe(true);
    await own.close();
  });

  test("survives a grammar that it cannot read, and says so", async () => {
    await expect(grammars.compile("root ::= nowhere")).rejects.toThrow("grammar thread");
    expect(await accepts(schemaGrammar({ const: 1 }), "1")).toBe(true);
  });

  test("compiles a grammar once", async () => {
    const grammar = schemaGrammar({ const: "once" });
    const [one, two] = await Promise.all([grammars.compiled(grammar), grammars.compiled(grammar)]);
    expect(two).toBe(one);
    expect(await grammars.compiled(grammar)).toBe(one);
  });
});
