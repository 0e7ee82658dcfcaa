import { z } from "@hono/zod-openapi";

/**
 * Fields that may hold a million values. A schema of zod's makes an issue of every value that is wrong, of each kind that
 * a union allows, which takes seconds of the event loop; what is here stops at the first fault.
 */

/** Where in the value, and why. */
interface Fault {
  readonly path: readonly number[];
  readonly message: string;
}

const PROMPT_KINDS = "must be a string, an array of strings, an array of token ids, or an array of arrays of token ids";
const TOKEN_ID = "must be a token id, a whole number of at least 0";

/** Characters of all stop strings together; each takes 24 bytes in the tree that finds them. */
const MOST_TO_STOP_AT = 2 ** 18;

export type Prompt = string | string[] | number[] | number[][];

const idsDocument = { type: "array", items: { type: "integer", minimum: 0 } } as const;
const textsDocument = { type: "array", items: { type: "string" } } as const;

/** What /v1/completions continues. */
export const promptSchema = checked<Prompt>(promptFault).openapi({
  type: ["string", "array"],
  anyOf: [{ type: "string" }, textsDocument, idsDocument, { type: "array", items: idsDocument }],
  description: "Special tokens spelled in a string stay text; ids may be any",
});

/** A string or a list of strings, or null. */
export const stopSchema = checked<string | string[] | null | undefined>((value) => {
  if (value === null || value === undefined) return null;
  const texts = typeof value === "string" ? [value] : value;
  const fits = Array.isArray(texts) && texts.every((text) => typeof text === "string");
  if (!fits) return { path: [], message: "must be a string or an array of strings" };
  const characters = texts.reduce((sum, text) => sum + text.length, 0);
  if (characters < MOST_TO_STOP_AT) return null;
  return { path: [], message: `has ${characters} characters; less than ${MOST_TO_STOP_AT} are allowed` };
})
  .optional()
  .openapi({
    type: ["string", "array", "null"],
    anyOf: [{ type: "string" }, textsDocument, { type: "null" }],
    description: "Strings that end the text; they are not part of it",
  });

/** A list of at most `most` items, of which those after the first wrong one are not looked at. */
export function listOf<T extends z.ZodType>(item: T, most: number) {
  return z.preprocess(
    (value) => {
      if (!Array.isArray(value)) return value;
      if (value.length > most) return { length: value.length };
      const wrong = value.findIndex((entry) => !item.safeParse(entry).success);
      return wrong < 0 ? value : value.slice(0, wrong + 1);
    },
    z.array(item, {
      error: ({ input }) => {
        const { length } = Object(input) as { length?: unknown };
        return typeof length === "number" && typeof input === "object"
          ? `has ${length} items; ${most} is the most`
          : undefined;
      },
    }),
  );
}

/** A record, of which the entries after the first wrong one are not looked at. */
export function recordOf<T extends z.ZodType>(value: T) {
  return z.preprocess((given) => {
    if (typeof given !== "object" || given === null || Array.isArray(given)) return given;
    const record = given as Readonly<Record<string, unknown>>;
    const wrong = Object.keys(record).find((key) => !value.safeParse(record[key]).success);
    return wrong === undefined ? given : { [wrong]: record[wrong] };
  }, z.record(z.string(), value).nullish());
}

function checked<T>(faultOf: (value: unknown) => Fault | null) {
  return z.custom<T>().superRefine((value, context) => {
    const fault = faultOf(value);
    if (fault !== null) context.addIssue({ code: "custom", path: [...fault.path], message: fault.message });
  });
}

function promptFault(value: unknown): Fault | null {
  if (typeof value === "string") return null;
  if (!Array.isArray(value)) return { path: [], message: PROMPT_KINDS };
  if (value.length === 0) return { path: [], message: "must not be empty" };
  const kind = kindOf(value[0]);
  for (const [i, item] of value.entries()) {
    if (kind === "other" || kindOf(item) !== kind) return { path: [], message: PROMPT_KINDS };
    if (kind === "number" && !isTokenId(item)) return { path: [i], message: TOKEN_ID };
    const wrong = kind === "array" ? item.findIndex((id: unknown) => !isTokenId(id)) : -1;
    if (wrong >= 0) return { path: [i, wrong], message: TOKEN_ID };
  }
  return null;
}

function kindOf(value: unknown): "string" | "number" | "array" | "other" {
  if (typeof value === "string") return "string";
  if (typeof value === "number") return "number";
  return Array.isArray(value) ? "array" : "other";
}

function isTokenId(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
