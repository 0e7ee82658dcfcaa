import { z } from "@hono/zod-openapi";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { listOf, promptSchema, recordOf, stopSchema } from "../../../server/schemas/large.ts";

/** The same in zod's own words: as slow as it is clear. */
const ids = z.array(z.int().min(0));
const plainPrompt = z.union([z.string(), z.array(z.string()).min(1), ids.min(1), z.array(ids).min(1)]);
const plainStop = z.union([z.string(), z.array(z.string())]).nullish();
const item = z.object({ a: z.number() });

const leaf = fc.oneof(fc.string(), fc.nat(), fc.constantFrom(-1, 0.5, 2 ** 53, Number.NaN, null, undefined, {}, true));
const value = fc.oneof(
  leaf,
  fc.array(fc.string()),
  fc.array(fc.nat()),
  fc.array(fc.array(fc.nat())),
  fc.array(leaf),
  fc.array(fc.oneof(leaf, fc.array(leaf))),
);

/** A list that counts how many of its entries were looked at. */
function watched(entries: readonly unknown[]) {
  const seen = new Set<string>();
  const list = new Proxy([...entries], {
    get(target, key, receiver) {
      if (typeof key === "string" && /^\d+$/.test(key)) seen.add(key);
      return Reflect.get(target, key, receiver);
    },
  });
  return { list, seen };
}

function faultOf(schema: z.ZodType, given: unknown) {
  const { path, message } = schema.safeParse(given).error!.issues[0]!;
  return [path, message];
}

describe("large fields", () => {
  it("take and refuse what zod's own schemas do, and change nothing", () => {
    const pairs: [z.ZodType, z.ZodType][] = [
      [promptSchema, plainPrompt],
      [stopSchema, plainStop],
      [listOf(z.int(), 1000), z.array(z.int())],
    ];
    fc.assert(
      fc.property(value, (given) => {
        for (const [schema, plain] of pairs) {
          const result = schema.safeParse(given);
          expect(result.success).toBe(plain.safeParse(given).success);
          if (result.success) expect(result.data).toEqual(given);
        }
      }),
      { numRuns: 500 },
    );
    fc.assert(
      fc.property(fc.dictionary(fc.string(), leaf, { noNullPrototype: true }), (given) => {
        const plain = z.record(z.string(), z.number()).nullish();
        expect(recordOf(z.number()).safeParse(given).success).toBe(plain.safeParse(given).success);
      }),
    );
  });

  it.each<[string, z.ZodType, unknown[], unknown[], RegExp]>([
    ["an id", promptSchema, [5, 6, -7, 8, -9], [2], /token id/],
    ["an id in a list", promptSchema, [[5], [6, 0.5], [-7]], [1, 1], /token id/],
    ["two kinds", promptSchema, ["a", 1, "b", "c", "d"], [], /must be a string, an array/],
    ["no kind", promptSchema, [{}, {}, {}, {}], [], /must be a string, an array/],
    ["a stop string", stopSchema, ["a", 1, "b", "c"], [], /string or an array of strings/],
    ["an item", listOf(item, 9), [{ a: 1 }, { a: "x" }, {}, {}], [1, "a"], /number/],
    ["too many items", listOf(item, 2), [{}, {}, {}], [], /has 3 items; 2 is the most/],
  ])("name the first fault and do not look further: %s", (_, schema, entries, path, message) => {
    const { list, seen } = watched(entries);
    expect(faultOf(schema, list)).toEqual([path, expect.stringMatching(message)]);
    expect(seen.size).toBeLessThan(entries.length);
  });

  it("name the key of a record's first fault alone", () => {
    const { issues } = recordOf(z.number()).safeParse({ a: 1, b: "x", c: "y" }).error!;
    expect(issues.map(({ path }) => path)).toEqual([["b"]]);
  });
});
