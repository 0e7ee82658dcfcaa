/** One side of a comparison: a program with the model loaded. Calls never overlap. */
export interface System {
  readonly name: string;
  /** Ways of decoding that are measured one after the other in each round. */
  readonly variants: readonly string[];
  readonly versions: Readonly<Record<string, string>>;
  /** Of the model as this program sees it. */
  readonly vocabSize: number;
  readonly layers: number;
  /** The likeliest token after each of the prompt's tokens. Rejects when a logit is not finite. */
  check(prompt: readonly number[]): Promise<readonly number[]>;
  /** Makes a cache for `sequences` sequences of up to `positions` positions each, sharing nothing; drops the one before. Throws
   * PeerMissing if it cannot. */
  open(positions: number, sequences: number): Promise<void>;
  /** Prefills every sequence with the tokens, from position 0; resolves to the seconds that one of them took. */
  fill(tokens: readonly number[]): Promise<number>;
  /**
   * As `fill`, without the time: may take a cache that an earlier run kept, or, in dense attention, whose time does not depend on
   * values, repeat the keys and values of the first positions.
   */
  refill(tokens: readonly number[]): Promise<void>;
  /**
   * Decodes behind what was filled, then takes the positions back; resolves to the milliseconds of each step. Throws PeerMissing if
   * it cannot in this cell.
   */
  decode(round: DecodeRound): Promise<readonly number[]>;
  /** Processor seconds that the program has used so far, all threads. */
  cpuSeconds(): Promise<number>;
  close(): void;
}

export interface DecodeRound {
  readonly variant: string;
  /** Positions that are filled. */
  readonly context: number;
  readonly batch: number;
  /** Tokens of step i: tokens[i * batch .. (i + 1) * batch]. */
  readonly tokens: readonly number[];
}

/** How many steps a round is. */
export function stepsOf({ tokens, batch }: DecodeRound): number {
  return tokens.length / batch;
}
