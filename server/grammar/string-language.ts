import { type AST, RegExpParser, RegExpSyntaxError, visitRegExpAST } from "@eslint-community/regexpp";
import { CharSet, DFA, JS, NFA, TooManyNodesError } from "refa";
import { GrammarError } from "./errors.ts";

/** A set of strings, as a deterministic automaton over code points. */
export type StringLanguage = DFA;

const LARGEST = 0x10ffff;
/** Of an automaton while it is made. What is left of it in the end is limited by who writes rules of it. */
const MOST_STATES = 2000;
const MOST_PATTERN_CHARACTERS = 2000;

const anything = () => NFA.all({ maxCharacter: LARGEST });

/**
 * The strings in which a pattern of JSON Schema is found: an ECMAScript pattern with the flag `u`, anywhere in the string
 * unless it is anchored. `^` and `$` are understood at the ends of alternatives, lookaheads at their beginning; throws
 * GrammarError, which names the place, for the rest of what is not regular there.
 */
export function patternLanguage(pattern: string, path: string): StringLanguage {
  if (pattern.length > MOST_PATTERN_CHARACTERS) {
    throw new GrammarError(path, `has ${pattern.length} characters; ${MOST_PATTERN_CHARACTERS} is the most`);
  }
  return regularLanguage(pattern, path);
}

/** The same for a pattern of any length. */
export function regularLanguage(pattern: string, path: string): StringLanguage {
  return limited(path, () => {
    const parsed = new RegExpParser({ ecmaVersion: 2022 }).parsePattern(pattern, 0, pattern.length, { unicode: true });
    const parts = parsed.alternatives.flatMap(alternativesIn).map((alternative) => found(alternative, path));
    return deterministic(union(parts));
  });
}

/** Strings that are of all the languages. */
export function intersection(languages: readonly StringLanguage[], path: string): StringLanguage {
  return limited(path, () =>
    languages.reduce((all, next) =>
      deterministic(NFA.fromIntersection(all, next, new NFA.LimitedNodeFactory(MOST_STATES))),
    ),
  );
}

/** Strings of so many code points; `most` undefined: of any number. */
export function lengthLanguage(least: number, most: number | undefined, path: string): StringLanguage {
  return limited(path, () => {
    const one = NFA.fromCharSet(CharSet.all(LARGEST));
    one.quantify(least, most ?? Number.POSITIVE_INFINITY, new NFA.LimitedNodeFactory(MOST_STATES));
    return deterministic(one);
  });
}

export function isIn(language: StringLanguage, text: string): boolean {
  return language.test(Array.from(text, (character) => character.codePointAt(0) as number));
}

function limited<T>(path: string, make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (error instanceof TooManyNodesError) {
      throw new GrammarError(path, `needs an automaton of more than ${MOST_STATES} states`);
    }
    if (error instanceof RegExpSyntaxError) throw new GrammarError(path, error.message);
    throw error;
  }
}

function deterministic(nfa: NFA): DFA {
  const dfa = DFA.fromFA(nfa, new DFA.LimitedNodeFactory(MOST_STATES));
  dfa.minimize();
  return dfa;
}

function union(parts: readonly NFA[]): NFA {
  const whole = NFA.empty({ maxCharacter: LARGEST });
  for (const part of parts) whole.unionInto(part);
  return whole;
}

/** Alternatives, also those of a group that is all there is. */
function alternativesIn(alternative: AST.Alternative): AST.Alternative[] {
  const [only, ...others] = alternative.elements;
  const group = only?.type === "Group" || only?.type === "CapturingGroup" ? only : undefined;
  return group && others.length === 0 ? group.alternatives.flatMap(alternativesIn) : [alternative];
}

function found({ elements }: AST.Alternative, path: string): NFA {
  const rest = [...elements];
  let fromStart = false;
  const looks: AST.LookaheadAssertion[] = [];
  for (let first = rest[0]; first?.type === "Assertion"; first = rest[0]) {
    if (first.kind === "start" && looks.length === 0) fromStart = true;
    else if (first.kind === "lookahead") looks.push(first);
    else break;
    rest.shift();
  }
  let nfa = upToEnd(rest, path);
  for (const look of looks) {
    const seen = deterministic(union(look.alternatives.map((alternative) => upToEnd(alternative.elements, path))));
    if (look.negate) seen.complement(new DFA.LimitedNodeFactory(MOST_STATES));
    nfa = NFA.fromIntersection(nfa, seen, new NFA.LimitedNodeFactory(MOST_STATES));
  }
  if (!fromStart) nfa.prepend(anything(), new NFA.LimitedNodeFactory(MOST_STATES));
  return nfa;
}

/** What the elements match, and then anything, unless they end with `$`. */
function upToEnd(elements: readonly AST.Element[], path: string): NFA {
  const last = elements.at(-1);
  const toEnd = last?.type === "Assertion" && last.kind === "end";
  const rest = toEnd ? elements.slice(0, -1) : elements;
  for (const element of rest) refuse(element, path);
  const source = `(?:${rest.map(({ raw }) => raw).join("")})`;
  const parser = JS.Parser.fromLiteral({ source, flags: "u" });
  const { expression, maxCharacter } = parser.parse({ backreferences: "throw" });
  const factory = new NFA.LimitedNodeFactory(MOST_STATES);
  const nfa = NFA.fromRegex(expression, { maxCharacter }, { assertions: "throw" }, factory);
  if (!toEnd) nfa.append(anything(), factory);
  return nfa;
}

function refuse(element: AST.Element, path: string): void {
  const named = (node: AST.Node, why: string) => {
    throw new GrammarError(path, `${node.raw} is not supported${why}`);
  };
  visitRegExpAST(element, {
    onAssertionEnter: (node) =>
      named(node, node.kind === "word" || node.kind === "lookbehind" ? "" : " but at the ends of an alternative"),
    onBackreferenceEnter: (node) => named(node, ""),
  });
}
