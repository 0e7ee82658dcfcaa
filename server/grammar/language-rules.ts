import { CharSet } from "refa";
import { escaped, literal, type Rules, range } from "./ebnf.ts";
import { GrammarError } from "./errors.ts";
import { type JsonRules, STRING_END } from "./json-rules.ts";
import type { StringLanguage } from "./string-language.ts";

/** States of a language: each is looked at with the whole vocabulary when the grammar is compiled. */
const MOST_STATES = 512;
/** Of all languages of a grammar together, and its other rules. */
const MOST_RULES = 4096;

const LARGEST = 0x10ffff;
const between = (min: number, max: number) => CharSet.fromRange(LARGEST, { min, max });
/** What JSON.stringify escapes. */
const inEscapes = between(0, 0x1f).union(between(0x22, 0x22), between(0x5c, 0x5c));
const ascii = between(0, 0x7f);
/** All but ASCII and the halves of surrogate pairs, which no UTF-8 has. */
const beyond = between(0x80, 0xd7ff).union(between(0xe000, LARGEST));
/** What `.` and `\\S` leave out of them. */
const spaces = [0xa0, 0x1680, [0x2000, 0x200a], [0x2028, 0x2029], 0x202f, 0x205f, 0x3000, 0xfeff].reduce<CharSet>(
  (all, range) => all.union(typeof range === "number" ? between(range, range) : between(range[0]!, range[1]!)),
  CharSet.empty(LARGEST),
);
/** Characters beyond ASCII that a set may list. */
const MOST_LISTED = 64;

export interface Writing {
  /** How one character of a set may be written: expressions that begin with different characters. */
  readonly ways: (characters: CharSet) => readonly string[];
  /** What comes after the last character. */
  readonly end: string;
  /** A lookahead of what may follow. */
  readonly after: string;
}

/**
 * The name of a rule for the texts of a language: there is a rule for each of its states, with the rest of the text in it, so
 * that no token runs past the end of a rule before the text ends, and with few alternatives that begin alike: of rules with
 * dozens of them xgrammar makes automata that accept more. Adds rules. Throws
 * GrammarError if the language is too large.
 */
export function languageRules(language: StringLanguage, writing: Writing, rules: Rules, path: string): string {
  const states = [...language.nodes()];
  if (states.length > MOST_STATES) {
    throw new GrammarError(path, `needs ${states.length} states; ${MOST_STATES} is the most`);
  }
  if (rules.count + states.length > MOST_RULES) {
    throw new GrammarError(path, `with it the grammar has more than ${MOST_RULES} rules`);
  }
  const names = new Map(states.map((state) => [state, rules.reserve("state")]));
  for (const state of states) {
    const targets = new Map<(typeof states)[number], CharSet>();
    for (const [characters, target] of state.out.entries()) {
      targets.set(target, (targets.get(target) ?? CharSet.empty(LARGEST)).union([characters]));
    }
    const next = [...targets].flatMap(([target, characters]) =>
      writing.ways(characters).map((way) => `${way} ${names.get(target)}`),
    );
    const all = language.finals.has(state) ? [writing.end, ...next] : next;
    rules.define(names.get(state)!, `(${all.join(" | ")}) ${writing.after}`);
  }
  return names.get(language.initial)!;
}

/** An expression for JSON strings whose values are of a language. */
export function stringOfLanguage(language: StringLanguage, rules: Rules, json: JsonRules, path: string): string {
  const ways = (characters: CharSet) => stringWays(characters, rules, json, path);
  return `"\\"" ${languageRules(language, { ways, end: '"\\""', after: STRING_END }, rules, path)}`;
}

export function numberWays(characters: CharSet): string[] {
  return [classOf(characters)];
}

function stringWays(characters: CharSet, rules: Rules, json: JsonRules, path: string): string[] {
  const plain = characters.intersect(ascii).without(inEscapes);
  const ways = plain.isEmpty ? [] : [classOf(plain)];
  ways.push(...waysBeyondAscii(characters.intersect(beyond), path));
  const rest = characters.intersect(inEscapes);
  if (rest.isEmpty) return ways;
  return [...ways, `"\\\\" ${rest.equals(inEscapes) ? json.shortEscape : rules.of("escape", escapesOf(rest))}`];
}

/**
 * Classes of xgrammar are right for ASCII, and those that exclude some of ASCII have all other characters, whatever else they
 * exclude. So a set has all characters beyond ASCII (but for spaces, which are then let through), or a list of them.
 */
function waysBeyondAscii(characters: CharSet, path: string): string[] {
  if (characters.isEmpty) return [];
  if (characters.union(spaces).equals(beyond)) return ["[^\\u0000-\\u007f]"];
  const { size } = characters;
  if (size <= MOST_LISTED) return codesOf(characters).map((code) => literal(String.fromCodePoint(code)));
  throw new GrammarError(
    path,
    `a set has ${size} characters beyond ASCII; all of them, or ${MOST_LISTED} at most, are supported`,
  );
}

/** What follows the backslash of a character of a set: a letter, or four digits. */
function escapesOf(characters: CharSet): string {
  const texts = codesOf(characters).map((code) => JSON.stringify(String.fromCodePoint(code)).slice(2, -1));
  const letters = texts.filter((text) => text.length === 1);
  const digits = ["0", "1"].flatMap((tens) => {
    const ones = texts.filter((text) => text.startsWith(`u00${tens}`)).map((text) => text[4]);
    return ones.length > 0 ? [`"${tens}" [${ones.join("")}]`] : [];
  });
  return [
    ...(letters.length > 0 ? [`[${letters.map(escaped).join("")}]`] : []),
    ...(digits.length > 0 ? [`${literal("u00")} (${digits.join(" | ")})`] : []),
  ].join(" | ");
}

function codesOf(characters: CharSet): number[] {
  return characters.ranges.flatMap(({ min, max }) => Array.from({ length: max - min + 1 }, (_, i) => min + i));
}

function classOf(characters: CharSet): string {
  return `[${characters.ranges.map(({ min, max }) => rangeOf(min, max)).join("")}]`;
}

function rangeOf(min: number, max: number): string {
  return range(String.fromCodePoint(min), String.fromCodePoint(max));
}
