import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isSettled, matches, normalise } from "../../../bench/eval/metrics/match.ts";
import { rougeL, rougeTokens } from "../../../bench/eval/metrics/rouge.ts";
import { bitsPerCharacter, commonCharacters } from "../../../bench/eval/metrics/text.ts";

describe("normalised match", () => {
  it.each([
    ["The  U.S. Army", "us army"],
    [" an “Apple”, a day!\n", "apple day"],
    ["Schrödinger’s 6½ cats", "schrödingers 6½ cats"],
    ["a the an", ""],
    ["theatre and another", "theatre and another"],
  ])("%j is %j", (text, normal) => {
    expect(normalise(text)).toBe(normal);
  });

  it("asks for an answer that the output begins with", () => {
    expect(matches(" The Panthers, of course", ["Denver Broncos", "panthers"])).toBe(true);
    expect(matches("It was the Panthers", ["Panthers"])).toBe(false);
    expect(matches("308", ["308 points"])).toBe(false);
    expect(matches("anything", ["the"])).toBe(false);
    expect(matches("", [""])).toBe(false);
  });

  it.each([
    ["", false],
    [" Denver", false], // may become "Denvers"
    [" Denver ", false],
    [" Denver Broncos", false],
    [" Denver Broncos ", true],
    [" The Denver Bears ", true],
    [" Denv ", true],
    [" The ", false],
    ["Carolina is", true],
  ])("of %j is settled: %j", (output, settled) => {
    expect(isSettled(output, ["Denver Broncos"])).toBe(settled);
  });

  it("does not change once it is settled", () => {
    const word = fc.constantFrom("a", "new", "york", "newton", "the", "x-ray", "Ray,", "");
    const text = fc.array(word, { maxLength: 5 }).map((words) => words.join(" "));
    fc.assert(
      fc.property(text, text, fc.array(text, { minLength: 1, maxLength: 3 }), (output, more, answers) => {
        fc.pre(isSettled(output, answers));
        expect(matches(output + more, answers)).toBe(matches(output, answers));
      }),
    );
  });
});

describe("ROUGE-L", () => {
  it("is F1 of the longest common subsequence", () => {
    // Lin (2004): LCS "police the gunman" of 4 and 4 words is 3; "the gunman" of the other order is 2.
    expect(rougeL("police kill the gunman", "police killed the gunman")).toBeCloseTo(3 / 4, 12);
    expect(rougeL("the gunman kill police", "police killed the gunman")).toBeCloseTo(2 / 4, 12);
    // LCS 2; precision 2/2, recall 2/5.
    expect(rougeL("a c", "a b c d e")).toBeCloseTo((2 * 1 * 0.4) / 1.4, 12);
  });

  it("has words and numbers alone", () => {
    expect(rougeTokens("It's 3.5 km-long: NAÏVE")).toEqual(["it", "s", "3", "5", "km", "long", "na", "ve"]);
    expect(rougeL("", "a")).toBe(0);
    expect(rougeL("?!", "?!")).toBe(0);
  });

  it("is 1 of a text and itself, symmetric, and no more than 1", () => {
    const text = fc
      .array(fc.constantFrom("a", "b", "c"), { minLength: 1, maxLength: 8 })
      .map((words) => words.join(" "));
    fc.assert(
      fc.property(text, text, (a, b) => {
        expect(rougeL(a, a)).toBe(1);
        expect(rougeL(a, b)).toBeCloseTo(rougeL(b, a), 12);
        expect(rougeL(a, b)).toBeLessThanOrEqual(1);
      }),
    );
  });
});

it("characters before two texts part", () => {
  expect(commonCharacters("abcd", "abxd")).toBe(2);
  expect(commonCharacters("ab", "abc")).toBe(2);
  expect(commonCharacters("", "abc")).toBe(0);
});

it("bits per character", () => {
  // Four characters at probability 1/8 in all: 3 bits.
  expect(bitsPerCharacter(Math.log(8), 4)).toBeCloseTo(0.75, 12);
  expect(() => bitsPerCharacter(1, 0)).toThrow(RangeError);
});
