import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { StopMatcher } from "../../../server/engine/stop.ts";

/** Feeds the pieces; the pieces of output, and whether a stop string was found. */
function run(stops: string[], pieces: string[]) {
  const matcher = new StopMatcher(stops);
  const out: string[] = [];
  for (const piece of pieces) {
    const { text, stopped } = matcher.push(piece);
    out.push(text);
    if (stopped) return { out, text: out.join(""), stopped };
  }
  out.push(matcher.flush());
  return { out, text: out.join(""), stopped: false };
}

/** The stop string that is complete first; of several at one place the longest. */
function naive(stops: string[], text: string): { text: string; stopped: boolean } {
  const wanted = stops.filter((stop) => stop !== "");
  for (let end = 1; end <= text.length; end++) {
    const ending = wanted.filter((stop) => text.slice(0, end).endsWith(stop));
    if (ending.length === 0) continue;
    return { text: text.slice(0, end - Math.max(...ending.map((stop) => stop.length))), stopped: true };
  }
  return { text, stopped: false };
}

/** Cuts a text at random places between characters. */
const pieces = (text: fc.Arbitrary<string>) =>
  fc.tuple(text, fc.infiniteStream(fc.integer({ min: 1, max: 4 }))).map(([whole, lengths]) => {
    const characters = [...whole];
    const cut: string[] = [];
    while (characters.length > 0) cut.push(characters.splice(0, lengths.next().value!).join(""));
    return cut;
  });

describe("StopMatcher", () => {
  const letters = fc.string({ unit: fc.constantFrom("a", "b", "🙂", "🙃"), maxLength: 6 });
  const text = fc.string({ unit: fc.constantFrom("a", "b", "🙂", "🙃"), maxLength: 30 });

  test("finds what a search of the whole text finds, however it is cut", () => {
    fc.assert(
      fc.property(fc.array(letters, { maxLength: 5 }), pieces(text), (stops, cut) => {
        const { text: got, stopped } = run(stops, cut);
        expect({ text: got, stopped }).toEqual(naive(stops, cut.join("")));
      }),
      { seed: 7, numRuns: 3000 },
    );
  });

  test("holds back no more than may become a stop string", () => {
    fc.assert(
      fc.property(fc.array(letters, { minLength: 1, maxLength: 5 }), pieces(text), (stops, cut) => {
        const matcher = new StopMatcher(stops);
        let seen = "";
        let out = "";
        for (const piece of cut) {
          const step = matcher.push(piece);
          if (step.stopped) return;
          seen += piece;
          out += step.text;
          const held = seen.slice(out.length);
          expect(seen.startsWith(out)).toBe(true);
          expect(held === "" || stops.some((stop) => stop.startsWith(held))).toBe(true);
        }
      }),
      { seed: 8, numRuns: 1000 },
    );
  });

  test("a stop string over three pieces leaks nothing", () => {
    expect(run(["</end>"], ["one </", "en", "d> two"])).toEqual({ out: ["one ", "", ""], text: "one ", stopped: true });
    expect(run(["</end>"], ["one </", "en", "ds> two"])).toEqual({
      out: ["one ", "", "</ends> two", ""],
      text: "one </ends> two",
      stopped: false,
    });
  });

  test("gives what it held back at the end", () => {
    expect(run(["\n\n"], ["a\n"])).toEqual({ out: ["a", "\n"], text: "a\n", stopped: false });
  });

  test("the first complete one wins, then the longest", () => {
    expect(run(["abcd", "bc"], ["abcd"]).text).toBe("a");
    expect(run(["bc", "abc"], ["xabcd"]).text).toBe("x");
  });

  test("ignores empty strings, and text after the stop", () => {
    expect(run([""], ["abc"])).toEqual({ out: ["abc", ""], text: "abc", stopped: false });
    const matcher = new StopMatcher(["b"]);
    expect(matcher.push("abc")).toEqual({ text: "a", stopped: true });
    expect(matcher.push("d")).toEqual({ text: "", stopped: true });
    expect(matcher.flush()).toBe("");
  });

  test("half of a surrogate pair stops nothing", () => {
    expect(run(["\ude42"], ["🙂"])).toEqual({ out: ["🙂", ""], text: "🙂", stopped: false });
  });

  test("many and long stop strings cost no more per character", () => {
    const long = "a".repeat(20_000);
    const stops = [`${long}b`, ...Array.from({ length: 500 }, (_, i) => `${"a".repeat(i)}c${i}`)];
    const { text: got, stopped } = run(stops, [long, long, "b!"]);
    expect(stopped).toBe(true);
    expect(got).toBe(long);
  });
});
