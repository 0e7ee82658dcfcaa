import { InvalidArgumentError } from "commander";

/** Milliseconds that a request may take for what is named; absent: as long as it likes. */
export interface Objective {
  readonly ttft?: number;
  readonly tpot?: number;
  readonly e2el?: number;
}

const OBJECTIVES = ["ttft", "tpot", "e2el"] as const;

/** "ttft:200,tpot:50" */
export function objective(text: string): Objective {
  const limits: { -readonly [name in keyof Objective]: number } = {};
  for (const part of text.split(",")) {
    const [name, value = ""] = part.split(":");
    const known = OBJECTIVES.find((one) => one === name);
    if (known === undefined || known in limits || !(positive(value) < Number.POSITIVE_INFINITY)) {
      throw new InvalidArgumentError(`It must be milliseconds of ${OBJECTIVES.join(", ")}, as in ttft:200,tpot:50.`);
    }
    limits[known] = positive(value);
  }
  return limits;
}

/** "1,2.5,inf": each once, ascending. */
export function ratesOf(text: string): readonly number[] {
  const rates = text.split(",").map((part) => (part === "inf" ? Number.POSITIVE_INFINITY : positive(part)));
  if (!rates.some(Number.isNaN)) return [...new Set(rates)].sort((a, b) => a - b);
  throw new InvalidArgumentError("It must be numbers over 0, or inf, separated by commas.");
}

export function burstinessOf(text: string): number {
  const value = text === "inf" ? Number.POSITIVE_INFINITY : positive(text);
  if (!Number.isNaN(value)) return value;
  throw new InvalidArgumentError("It must be a number over 0, or inf.");
}

export function seconds(text: string): number {
  const value = positive(text);
  if (value <= 86_400) return value;
  throw new InvalidArgumentError("It must be a number over 0 and at most 86400.");
}

/** Adds "Name: value" to those that were given before. */
export function header(
  text: string,
  before: readonly (readonly [string, string])[],
): readonly (readonly [string, string])[] {
  const [, name, value] = /^([\w!#$%&'*+.^`|~-]+):\s*(.*)$/.exec(text) ?? [];
  if (name === undefined) throw new InvalidArgumentError("It must be a name and a value, as in X-Team: search.");
  return [...before, [name, value!]];
}

/** Of a request's fields, those that the benchmark's checks count on: they have options of their own. */
const OWN_FIELDS = ["model", "messages", "prompt", "stream", "n"];

export function bodyFields(text: string): Readonly<Record<string, unknown>> {
  const fields = parsed(text);
  const own = OWN_FIELDS.find((name) => name in fields);
  if (own !== undefined) throw new InvalidArgumentError(`It must not set ${own}.`);
  return fields;
}

function parsed(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // The same message as for JSON that is no object.
  }
  throw new InvalidArgumentError('It must be a JSON object, as in {"top_p": 0.9}.');
}

/** NaN for what is no decimal number over 0. */
function positive(text: string): number {
  const value = /^\d{1,9}(\.\d{1,9})?$/.test(text) ? Number(text) : Number.NaN;
  return value > 0 ? value : Number.NaN;
}
