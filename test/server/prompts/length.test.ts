import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EngineError } from "../../../server/engine/errors.ts";
import { refuseFarTooLong } from "../../../server/prompts/length.ts";

describe("refuseFarTooLong", () => {
  /** A tokenizer whose tokens are `size` characters; `looks` gets the length of each text that it tokenised. */
  const tokensOf = (size: number, looks: number[] = []) => {
    return (text: string) => {
      looks.push(text.length);
      return Math.ceil(text.length / size);
    };
  };

  it("refuses by the length alone what not even the longest tokens make fit", () => {
    const looks: number[] = [];
    const refusal = () => refuseFarTooLong("x".repeat(5_000_000), tokensOf(4, looks), 1000, 16);
    expect(refusal).toThrow(EngineError);
    expect(refusal).toThrow("the prompt has more than 312500 tokens; the context is 1000 tokens");
    expect(looks).toEqual([]);
  });

  it("looks at a beginning only, without a bound", () => {
    const looks: number[] = [];
    expect(() => refuseFarTooLong("x".repeat(5_000_000), tokensOf(4, looks), 1000, null)).toThrow(/more than 2000 /);
    expect(looks).toEqual([8000]);
  });

  it("never refuses what fits, and always what is 32 times too long", () => {
    const cases = fc.record({
      length: fc.integer({ min: 0, max: 400_000 }),
      size: fc.integer({ min: 1, max: 16 }),
      context: fc.integer({ min: 2, max: 2000 }),
      bounded: fc.boolean(),
    });
    fc.assert(
      fc.property(cases, ({ length, size, context, bounded }) => {
        const text = "x".repeat(length);
        const tokens = Math.ceil(length / size);
        const check = () => refuseFarTooLong(text, tokensOf(size), context, bounded ? 16 : null);
        if (tokens <= context) expect(check).not.toThrow();
        if (tokens > 32 * (context + 256)) expect(check).toThrow(/tokens; the context is/);
      }),
    );
  });
});
