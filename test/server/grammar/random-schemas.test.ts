import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { schemaGrammar } from "../../../server/grammar/json-schema.ts";
import { accepts, grammars, sample } from "../../support/grammars.ts";
import { cases } from "./random-schemas.ts";

afterAll(() => grammars.close());

/** As ajv judges, with formats. */
function validator(schema: object): (value: unknown) => boolean {
  const ajv = new Ajv2020({ strict: false });
  addFormats.default(ajv);
  return ajv.compile(schema) as (value: unknown) => boolean;
}

describe("random schemas", () => {
  test("let their values through", { timeout: 300_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(cases, async ({ schema, value }) => {
        expect(validator(schema)(value)).toBe(true);
        expect(await accepts(schemaGrammar(schema), JSON.stringify(value))).toBe(true);
      }),
      { seed: 11, numRuns: 80 },
    );
  });

  test("let nothing else through: not the values of others", { timeout: 300_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(cases, cases, async ({ schema }, { value }) => {
        fc.pre(!validator(schema)(value));
        expect(await accepts(schemaGrammar(schema), JSON.stringify(value))).toBe(false);
      }),
      { seed: 12, numRuns: 60 },
    );
  });

  test("let nothing else through: all that is drawn of them satisfies them", { timeout: 300_000 }, async () => {
    let whole = 0;
    await fc.assert(
      fc.asyncProperty(cases, fc.nat(1000), async ({ schema }, seed) => {
        const drawn = await sample(schemaGrammar(schema), seed);
        // Drawn at random, tokens may also be bytes that no UTF-8 has.
        if (drawn === null || drawn.includes("\ufffd")) return;
        whole += 1;
        expect([drawn, validator(schema)(JSON.parse(drawn))]).toEqual([drawn, true]);
      }),
      { seed: 13, numRuns: 80 },
    );
    expect(whole).toBeGreaterThan(30);
  });
});
