import { describe, expect, it } from "vitest";
import { Fields } from "../../models/fields.ts";
import { samplingDefaults } from "../../models/sampling-defaults.ts";

const read = (values: Record<string, unknown>) => samplingDefaults(new Fields(values, "m/generation_config.json"));

describe("a model's own sampling", () => {
  it("is what its makers wrote, if they sample", () => {
    expect(
      read({ do_sample: true, temperature: 0.7, top_p: 0.8, top_k: 20, min_p: 0.1, repetition_penalty: 1.05 }),
    ).toEqual({
      temperature: 0.7,
      topP: 0.8,
      topK: 20,
      minP: 0.1,
      repetitionPenalty: 1.05,
    });
    expect(read({ do_sample: true, temperature: 0.6, top_p: null })).toEqual({ temperature: 0.6 });
  });

  it.each([{}, { do_sample: false, temperature: 0.6 }, { temperature: 0.6, top_k: "all" }])(
    "is none in %o",
    (values) => {
      expect(read(values)).toBeUndefined();
    },
  );

  it.each([
    ["temperature", -1],
    ["temperature", "hot"],
    ["top_p", 1.5],
    ["top_k", 0.5],
    ["min_p", -0.1],
    ["repetition_penalty", 0],
  ])("is refused with a %s of %o, by file and field", (field, value) => {
    const found = JSON.stringify(value);
    expect(() => read({ do_sample: true, [field]: value })).toThrow(
      `m/generation_config.json: ${field} is ${found}; it must`,
    );
  });
});
