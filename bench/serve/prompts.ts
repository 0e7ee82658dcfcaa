import type { Random } from "../soak/random.ts";

export interface Prompt {
  readonly text: string;
  /** How long its answer is to be. */
  readonly outputTokens: number;
}

/** Prompts that nobody has had before. */
export interface PromptSource {
  /** Those of one round. Mutates; throws Error if there are not as many left. */
  take(n: number): readonly Prompt[];
}

/** How a server's tokenizer counts words of this list: `overhead` tokens (a chat's template), and so many for each word. */
export interface WordScale {
  readonly overhead: number;
  readonly perWord: number;
}

/** Without a server that counts tokens: of most vocabularies, each of these words is a token. */
export const assumedScale: WordScale = { overhead: 0, perWord: 1 };

const WORDS = `about above across after again against air all along also always among and animal another answer any
around ask away back because been before began being below best better between big black book both boy bring build but
call came can car carry change children city close cold come could country course cut dark day did different does door
down draw each earth eat end enough even ever every example eye face family far farm father feel feet few field find
fire first fish follow food form found four friend from game gave girl give good great green ground group grow half hand
hard head hear heat help here high hold home horse hot hour house how idea important inch inside island just keep kind
king know land language large last late learn leave left letter life light like line list little live long look love
machine made make man many map mark mean men might mile mind money moon more morning most mother mountain move much
music must name near need never new next night north note nothing number off often old once one only open order other
our over own page paper part people picture piece place plan plant play point power problem product question quick rain
ran reach read red remember rest right river road rock room round rule run said same saw school science sea second see
sentence set ship short should show side simple sing sky sleep slow small snow some song soon sound south space stand
star start state stay step still stop story street strong study sun sure table tail take talk teach tell than that them
then there these thing think this those thought three through time together told took top town travel tree true try turn
two under until use very voice walk war warm was watch water way week went were what wheel when where which while white
who whole why will wind with wood word work world would write year young your`.split(/\s+/);

const OUTPUT_TOKENS = 64;

/** `n` words at random. Mutates `random`. */
export function words(n: number, random: Random): string {
  return Array.from({ length: n }, () => random.pick(WORDS)).join(" ");
}

export interface WordPromptOptions {
  readonly inputTokens: number;
  /** Default: 64. */
  readonly outputTokens?: number;
  /** Of the input's. */
  readonly sharedPrefixTokens: number;
}

/** Words at random, as many as make the tokens; those of a round begin with the same ones if that is asked for. */
export class WordPrompts implements PromptSource {
  private readonly random: Random;
  private readonly shared: number;
  private readonly own: number;
  private readonly outputTokens: number;

  constructor(options: WordPromptOptions, { overhead, perWord }: WordScale, random: Random) {
    const { inputTokens, outputTokens = OUTPUT_TOKENS, sharedPrefixTokens } = options;
    this.random = random;
    const all = Math.max(1, Math.round((inputTokens - overhead) / perWord));
    this.shared = Math.min(all - 1, Math.round(sharedPrefixTokens / perWord));
    this.own = all - this.shared;
    this.outputTokens = outputTokens;
  }

  take(n: number): readonly Prompt[] {
    const prefix = this.shared === 0 ? "" : `${words(this.shared, this.random)} `;
    return Array.from({ length: n }, () => ({
      text: prefix + words(this.own, this.random),
      outputTokens: this.outputTokens,
    }));
  }
}
