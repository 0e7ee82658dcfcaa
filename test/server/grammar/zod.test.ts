import { afterAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { schemaGrammar } from "../../../server/grammar/json-schema.ts";
import { accepts, grammars, sample } from "../../support/grammars.ts";

afterAll(() => grammars.close());

const Node = z.object({
  value: z.number().min(-1.5).max(1.5),
  get next(): z.ZodNullable<typeof Node> {
    return z.nullable(Node);
  },
});

/** Schemas as users of the OpenAI and Vercel SDKs write them: values that they take, and values that they do not. */
const schemas: Record<string, { type: z.ZodType; good: unknown[]; bad: unknown[] }> = {
  object: {
    type: z.object({ name: z.string().min(1).max(40), age: z.int().min(0).max(150), email: z.email().optional() }),
    good: [
      { name: 'Ann "A"', age: 0 },
      { name: "B", age: 150, email: "b.c@example.com" },
    ],
    bad: [{ name: "", age: 1 }, { name: "B", age: 151 }, { name: "B" }, { name: "B", age: 1, email: "b" }],
  },
  enum: { type: z.enum(["red", "green"]), good: ["red", "green"], bad: ["blue", "re", 1] },
  literal: { type: z.literal(["a", 2, null]), good: ["a", 2, null], bad: ["b", 3] },
  union: { type: z.union([z.string().max(3), z.number(), z.null()]), good: ["abc", -2.5e3, null], bad: ["abcd", true] },
  discriminated: {
    type: z.discriminatedUnion("kind", [
      z.object({ kind: z.literal("circle"), radius: z.number().positive() }),
      z.object({ kind: z.literal("square"), side: z.number().nonnegative() }),
    ]),
    good: [
      { kind: "circle", radius: 0.5 },
      { kind: "square", side: 0 },
    ],
    bad: [{ kind: "circle", side: 1 }, { kind: "circle", radius: 0 }, { kind: "line" }],
  },
  nullable: { type: z.object({ a: z.boolean().nullable() }), good: [{ a: null }, { a: true }], bad: [{ a: 1 }, {}] },
  record: { type: z.record(z.string(), z.int()), good: [{}, { "a b": 1, c: -2 }], bad: [{ a: 1.5 }, []] },
  recordOfKeys: {
    type: z.record(z.enum(["x", "y"]), z.boolean()),
    good: [{ x: true, y: false }],
    bad: [{ x: true }, { x: true, y: 1 }],
  },
  recordOfPattern: {
    type: z.record(z.string().regex(/^[a-z]+$/), z.int()),
    good: [{}, { a: 1, bc: 2 }],
    bad: [{ A: 1 }],
  },
  array: {
    type: z.array(z.string()).min(1).max(3),
    good: [["a"], ["", "b", "c"]],
    bad: [[], ["a", "b", "c", "d"], [1]],
  },
  tuple: { type: z.tuple([z.int(), z.string()]), good: [[1, "a"]], bad: [[1], ["a", 1]] },
  regex: { type: z.string().regex(/^[A-Z]{2}-\d{3}$/), good: ["AB-123"], bad: ["AB-12", "xAB-123"] },
  strings: { type: z.string().startsWith("ab").endsWith("z").includes("-"), good: ["ab-z"], bad: ["abz", "b-z"] },
  uuid: { type: z.uuid(), good: ["0f8fad5b-d9cb-469f-a165-70867728950e"], bad: ["0f8fad5b"] },
  datetime: { type: z.iso.datetime(), good: ["2024-02-29T01:02:03Z"], bad: ["2023-02-29T01:02:03Z", "2024-02-29"] },
  offset: { type: z.iso.datetime({ offset: true }), good: ["2024-01-31T01:02:03.25+02:00"], bad: ["2024-01-31"] },
  date: { type: z.iso.date(), good: ["2000-02-29", "2023-04-30"], bad: ["1900-02-29", "2023-04-31"] },
  time: { type: z.iso.time(), good: ["12:30", "12:30:15.5"], bad: ["24:00", "12:3"] },
  ipv4: { type: z.ipv4(), good: ["10.0.0.255"], bad: ["10.0.0.256", "10.0.0"] },
  url: { type: z.url(), good: ["https://example.com/a?b=c"], bad: ["nothing"] },
  base64: { type: z.base64(), good: ["", "YWI="], bad: ["YWI", "=="] },
  numbers: {
    type: z.array(z.number().gt(0).lt(1)),
    good: [[0.5, 0.001, 0.99999]],
    bad: [[0], [1], [1.5], [-0.5], [0.0]],
  },
  integers: { type: z.array(z.int().gt(-3).lte(12)), good: [[-2, 0, 9, 12]], bad: [[-3], [13], [1.5]] },
  intersection: {
    type: z.intersection(z.looseObject({ a: z.int() }), z.looseObject({ b: z.string().max(4) })),
    good: [{ a: 1, b: "four" }],
    bad: [{ a: 1 }, { b: "" }, { a: 1, b: "five5" }],
  },
  recursive: {
    type: Node,
    good: [{ value: 1.5, next: { value: -1.25, next: null } }],
    bad: [{ value: 1.51, next: null }, { value: 1 }],
  },
  defaults: {
    type: z.object({ a: z.int().default(3), b: z.string().describe("a text").catch("x") }),
    good: [{ a: 1, b: "" }],
    bad: [{ a: "1", b: "" }],
  },
};

describe("schemas of zod", () => {
  test.each(Object.entries(schemas))("%s", async (_, { type, good, bad }) => {
    const grammar = schemaGrammar(z.toJSONSchema(type));
    for (const value of good) {
      expect(type.safeParse(value).success).toBe(true);
      expect([value, await accepts(grammar, JSON.stringify(value))]).toEqual([value, true]);
      expect([value, await accepts(grammar, JSON.stringify(value, null, 2))]).toEqual([value, true]);
    }
    for (const value of bad) expect([value, await accepts(grammar, JSON.stringify(value))]).toEqual([value, false]);
    for (let seed = 0; seed < 8; seed++) {
      const text = await sample(grammar, seed);
      if (text !== null) expect([text, type.safeParse(JSON.parse(text)).success]).toEqual([text, true]);
    }
  });
});
