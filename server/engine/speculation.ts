import { type Draft, Drafter, LONGEST_MATCH, SHORTEST_MATCH } from "./drafts.ts";

export interface SpeculationSettings {
  /** Draft tokens of one sequence in a step, at most. */
  readonly maxDraft: number;
  /** Time of a decode step that does not depend on its rows, in units of the time that a row adds. */
  readonly stepCost: number;
  /** That is where it begins: it is learned from what steps take. Default: it stays as it is. */
  readonly learnCost?: boolean;
}

/** See docs/decisions.md for where the cost comes from. */
export const defaultSpeculation: SpeculationSettings = { maxDraft: 8, stepCost: 1.5, learnCost: true };

/** A tenth of the evidence is in the last token, and an old habit of the text is forgotten in a few dozen. */
const ADAPTATION = 0.1;
/** Before there is evidence. */
const PRIOR = 0.5;

/**
 * How often a sequence's drafts have been right, by the length of the match they came from.
 *
 * It learns from every draft that was proposed, run or not: what the sequence's next token became is known in any case. So
 * a sequence whose drafts are not run now is found out at no cost when its text begins to repeat.
 */
export class Acceptance {
  /** By match length from SHORTEST_MATCH on: the share of right tokens, recent ones counting more. */
  private readonly rates = new Float64Array(LONGEST_MATCH - SHORTEST_MATCH + 1).fill(PRIOR);

  /** The chance that draft token `index` is right if those before it are; each of them has made the match longer by one. */
  rate({ match }: Pick<Draft, "match">, index: number): number {
    return this.rates[placeOf(match + index)]!;
  }

  /** Takes in what followed: `next` is at least one token. Mutates. */
  learn({ tokens, match }: Draft, next: readonly number[]): void {
    for (let i = 0; i < Math.min(tokens.length, next.length); i++) {
      const place = placeOf(match + i);
      const right = tokens[i] === next[i];
      this.rates[place]! += ((right ? 1 : 0) - this.rates[place]!) * ADAPTATION;
      if (!right) return; // what came after a wrong token says nothing
    }
  }
}

function placeOf(match: number): number {
  return Math.min(match, LONGEST_MATCH) - SHORTEST_MATCH;
}

/** What one sequence drafts next, and how good its drafts have been. */
export class Speculation {
  readonly acceptance = new Acceptance();
  private readonly drafter: Drafter;
  private proposed: Draft | null = null;

  /** `text` grows at its end as the sequence does. */
  constructor(text: readonly number[]) {
    this.drafter = new Drafter(text);
  }

  /** The draft of at most `most` tokens for the text's present end. Mutates. */
  propose(most: number): Draft {
    this.proposed = this.drafter.propose(most);
    return this.proposed;
  }

  /** Takes in the tokens that came where the last proposal was made. Mutates. */
  learn(next: readonly number[]): void {
    if (this.proposed !== null) this.acceptance.learn(this.proposed, next);
    this.proposed = null;
  }
}

/** A sequence that has a draft: the chance that each of its tokens will be accepted, never rising. */
export type Chances = readonly number[];

/**
 * How many tokens of each draft to run in a step of `rows` other rows, each of which gives a token for certain: those that
 * let the step give the most tokens in its time. A row with chance p is worth its time when p is more than the tokens of a
 * row's time so far; the best go first. So the more sequences share the step's fixed cost, the surer a draft must be.
 */
export function draftLengths(drafts: readonly Chances[], rows: number, stepCost: number): number[] {
  const ranked = drafts.flatMap((chances, draft) => chances.map((chance) => ({ draft, chance })));
  ranked.sort((a, b) => b.chance - a.chance); // stable: of equal chances the earlier token of a draft stays first
  const lengths = drafts.map(() => 0);
  let tokens = rows;
  let time = stepCost + rows;
  for (const { draft, chance } of ranked) {
    if (chance * time <= tokens) break;
    lengths[draft]! += 1;
    tokens += chance;
    time += 1;
  }
  return lengths;
}

/** The chance that each token of the draft will be accepted, which all before it must be too. */
export function chancesOf(draft: Draft, acceptance: Acceptance): number[] {
  let chance = 1;
  return draft.tokens.map((_, i) => (chance *= acceptance.rate(draft, i)));
}
