import { describe, expect, it } from "vitest";
import { parseConfig } from "../../models/config.ts";
import { readGoldenJson } from "../support/golden.ts";

/** As test/oracle/rope.py writes it. */
interface Golden {
  readonly cases: Readonly<
    Record<
      string,
      {
        readonly config: Readonly<Record<string, unknown>>;
        readonly inverse_frequencies: readonly number[];
        readonly attention_factor: number;
      }
    >
  >;
}

/** What parseConfig wants besides and rope does not depend on. */
const REST = { num_hidden_layers: 2, intermediate_size: 64, vocab_size: 64 };
/** Types whose frequencies change with the sequence's length; one set of frequencies cannot serve them. */
const LENGTH_DEPENDENT = ["dynamic", "longrope"];

const { cases } = readGoldenJson<Golden>("rope.json");
const supported = Object.keys(cases).filter((name) => !LENGTH_DEPENDENT.includes(name));

describe("rope against transformers", () => {
  it.each(supported)("has the frequencies of '%s'", (name) => {
    const { config, inverse_frequencies, attention_factor } = cases[name]!;
    const parsed = parseConfig({ ...REST, ...config }, undefined, "config.json");
    expect(parsed.rotaryDim).toBe(2 * inverse_frequencies.length);
    expect(parsed.ropeScale).toBeCloseTo(attention_factor, 6);
    for (const [i, expected] of inverse_frequencies.entries()) {
      // Powers differ by a unit in the last place between libraries; what is built on them by two or three.
      expect(Math.abs(parsed.inverseFrequencies[i]! / expected - 1), `frequency ${i}`).toBeLessThan(3 * 2 ** -23);
    }
  });

  it.each(LENGTH_DEPENDENT)("refuses '%s' by name", (name) => {
    const parse = () => parseConfig({ ...REST, ...cases[name]!.config }, undefined, "config.json");
    expect(parse).toThrow(new RegExp(name));
    expect(parse).toThrow(/rope_type/);
  });
});
