import type { Fields } from "./fields.ts";

/** How a model's makers sample from it: for requests that do not say. Absent: the API's own default. */
export interface SamplingDefaults {
  readonly temperature?: number;
  readonly topP?: number;
  /** 0: off. */
  readonly topK?: number;
  readonly minP?: number;
  readonly repetitionPenalty?: number;
}

/**
 * The defaults in generation_config.json, or in `search` of genai_config.json, which has the same fields. Without `do_sample`
 * both mean greedy decoding whatever else they say, which is no way to serve a chat: then there are none.
 * @throws ModelError "unsupported_config" naming the field and value
 */
export function samplingDefaults(fields: Fields): SamplingDefaults | undefined {
  if (!fields.boolean("do_sample", false)) return undefined;
  const number = (name: string, fits: (value: number) => boolean, expected: string) => {
    const value = fields.values[name];
    if (value === undefined || value === null) return undefined;
    if (typeof value !== "number" || !Number.isFinite(value) || !fits(value)) fields.refuse(name, expected);
    return value as number;
  };
  const share = (value: number) => value >= 0 && value <= 1;
  const found = {
    temperature: number("temperature", (value) => value >= 0, "it must be a number >= 0"),
    topP: number("top_p", share, "it must be a number from 0 to 1"),
    topK: number("top_k", (value) => Number.isInteger(value) && value >= 0, "it must be an integer >= 0"),
    minP: number("min_p", share, "it must be a number from 0 to 1"),
    repetitionPenalty: number("repetition_penalty", (value) => value > 0, "it must be a number > 0"),
  };
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined));
}
