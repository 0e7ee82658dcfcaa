import { patternLanguage, type StringLanguage } from "./string-language.ts";

const LEAP_YEAR = "(?:\\d\\d[2468][048]|\\d\\d[13579][26]|\\d\\d0[48]|[02468][048]00|[13579][26]00)";
const DAY = "(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8])";
const DATE = `(?:${LEAP_YEAR}-02-29|\\d{4}-(?:${DAY}))`;
const TIME = "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,9})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)";
const OCTET = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
const LABEL = "[a-z0-9]+(?:-[a-z0-9]+)*";
const HOST = `(?:${LABEL}\\.)+[a-z]{2,}`;

/** Strings of a `format`: all of them, or those of the usual shape (e-mail addresses, and http and https URLs). */
const patterns: Readonly<Record<string, string>> = {
  date: DATE,
  time: TIME,
  "date-time": `${DATE}T${TIME}`,
  uuid: "[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}",
  ipv4: `(?:${OCTET}\\.){3}${OCTET}`,
  email: `[A-Za-z0-9_+-]+(?:\\.[A-Za-z0-9_+-]+)*@${HOST}`,
  uri: `https?:\\/\\/${HOST}(?::[1-9]\\d{0,3})?(?:\\/[A-Za-z0-9._~-]+)*\\/?(?:\\?[A-Za-z0-9._~=&-]*)?(?:#[A-Za-z0-9._~-]*)?`,
};

const made = new Map<string, StringLanguage>();

export const formatNames: readonly string[] = Object.keys(patterns);

/** Undefined for a format that is not known. */
export function formatLanguage(name: string): StringLanguage | undefined {
  if (!Object.hasOwn(patterns, name)) return undefined;
  const known = made.get(name) ?? patternLanguage(`^(?:${patterns[name]})$`, "");
  made.set(name, known);
  return known;
}
